"""`Evaluator` over scores that need other ports: embeddings, a judge, a sandbox."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Never, TypeAlias, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Handlers, Result, do, fail, from_result, gather
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.scorers._requests import request_problem
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator, expected_answers
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    SequenceTooLong,
    SessionClosed,
    TrainError,
)
from crucible.train.ports import CodeClient, EmbeddingClient, LLMClient
from crucible.train.questions import exchange_of
from crucible.train.scoring import (
    CodeCase,
    Rubric,
    Submission,
    UnreadableVerdict,
    code_score,
    extract_code,
    judged,
    semantic_similarity,
)
from crucible.train.supervised import conversation_of
from crucible.train.types import ChatOptions, CodeLimits, Message, text_of

R = TypeVar("R")

ScoreError: TypeAlias = TrainError | UnreadableVerdict
"""How a score that needs other ports can fail."""

RowScore: TypeAlias = Callable[[AnsweredRow], Eff[float, ScoreError, R]]
"""Scores an answered row, from 0.0 (wrong) to 1.0 (right), with the help of the ports `R`."""


def evaluator_of(
    score: RowScore[R], *, using: Handlers[R], right_at: float = 1.0, at_once: int = 8
) -> Handlers[Evaluator]:
    """Handle evaluation by a score that needs other ports, and the handlers of those.

    The metrics are `accuracy`, the share of scores that are at least `right_at`, and `mean_score`. No answer is wrong because
    a model or a sandbox failed: the evaluation fails then.

    >>> from crucible.effects import perform
    >>> from crucible.kitchen.handlers import noop
    >>> example = AnsweredRow(row={}, answer="a black cat", expected="a cat, black")
    >>> request = EvaluationRequest(dataset="pets", examples=(example,), metrics=("mean_score",))
    >>> alike = evaluator_of(similarity, using=noop.embeddings())
    >>> round(alike.run(perform(Evaluator.evaluate, request)).unwrap().metrics["mean_score"], 6)
    1.0

    Args:
        score: `similarity`, `verdict(rubric)`, `cases_passed()`, or a function of your own.
        using: the handlers of the ports that the score needs. What they should retry, cache or spend is wrapped around them.
        right_at: the score from which an answer counts as right: below 1 for `similarity`, or only the same text is right.
        at_once: the most examples that are scored side by side.

    Raises: ValueError unless 0 < right_at <= 1 and 1 <= at_once.
    """
    return Evaluator.handled_by(PerformedEvaluator(score=score, using=using, right_at=right_at, at_once=at_once))


def similarity(example: AnsweredRow) -> Eff[float, ScoreError, EmbeddingClient]:
    """Score an answer by the cosine of its embedding and that of what is expected; one that points away scores 0."""
    return _expected(example).bind(lambda expected: semantic_similarity(example.answer, expected))


def verdict(rubric: Rubric, *, options: ChatOptions = ChatOptions(temperature=0.0)) -> RowScore[LLMClient]:
    """Make the score that a chat model gives, as `judged`: it sees the row's question, and what is expected if anything is."""

    @do
    def score(example: AnsweredRow) -> Do[ScoreError, LLMClient, float]:
        conversation = yield from from_result(conversation_of(example.row))
        exchange = yield from from_result(exchange_of(conversation))
        submission = Submission(question=_written(exchange.asked), answer=example.answer, reference=example.expected)
        given = yield from judged(rubric, submission, options=options)
        return given.score

    return score


def printed(example: AnsweredRow) -> tuple[CodeCase, ...]:
    """Give the one case of a row that says only what must be written: the expected text, with nothing to read.

    >>> printed(AnsweredRow(row={}, answer="", expected="42"))
    (CodeCase(stdin='', stdout='42'),)
    """
    return () if example.expected is None else (CodeCase(stdout=example.expected),)


def cases_passed(
    cases: Callable[[AnsweredRow], Sequence[CodeCase]] = printed, *, limits: CodeLimits = CodeLimits()
) -> RowScore[CodeClient]:
    """Make the score that is the share of the cases that the program in an answer passes, as `code_score`.

    An answer without a fenced program scores 0. A row that gives no case is an InvalidRequest with its index.
    """

    @do
    def score(example: AnsweredRow) -> Do[ScoreError, CodeClient, float]:
        wanted = cases(example)
        if not wanted:
            yield from fail(InvalidRequest(message="the row gives no case to run", fix="say what must be written"))
        source = extract_code(example.answer)
        if source is None:
            return 0.0
        share = yield from code_score(source, wanted, limits=limits)
        return share

    return score


@attrs.frozen(kw_only=True)
class PerformedEvaluator(Evaluator, Generic[R]):
    """An `Evaluator` that asks other handlers."""

    score: RowScore[R]
    using: Handlers[R]
    right_at: float = attrs.field(validator=[attrs.validators.gt(0.0), attrs.validators.le(1.0)])
    at_once: int = attrs.field(validator=attrs.validators.ge(1))

    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Score the examples side by side; the first error ends it."""
        problem = request_problem(request, {"accuracy", "mean_score"})
        if problem is not None:
            return Failure(problem)
        scores = (self.score(each).alt(partial(_located, index)) for index, each in enumerate(request.examples))
        done = gather(scores, limit=self.at_once).map(lambda scored: self._report(request, scored))
        return await self.using.arun(done)

    def _report(self, request: EvaluationRequest, scores: Sequence[float]) -> EvaluationReport:
        metrics = {
            "accuracy": sum(score >= self.right_at for score in scores) / len(scores),
            "mean_score": math.fsum(scores) / len(scores),
        }
        return EvaluationReport(metrics={name: metrics[name] for name in request.metrics}, scores=tuple(scores))


def _expected(example: AnsweredRow) -> Eff[str, InvalidRequest, Never]:
    return from_result(expected_answers([example]).map(lambda expected: expected[0]))


def _written(asked: Sequence[Message]) -> str:
    """Write what was asked: the text of the one message, or of each with who says it."""
    if len(asked) == 1:
        return text_of(asked[0])
    return "\n\n".join(f"{message.role}: {text_of(message)}" for message in asked)


def _located(index: int, error: ScoreError) -> KitchenError:
    """Say an error in the words of the `Evaluator` port, and which example it is about."""
    match error:
        case InvalidRequest():
            return attrs.evolve(error, index=index)
        case SequenceTooLong():
            message = f"a text of {error.length} tokens is too long: the model takes {error.limit}"
            return InvalidRequest(message=message, fix="shorten the row, or the answer by max_tokens", index=index)
        case BackendFailed() | NonFiniteLoss() | SessionClosed() | UnreadableVerdict():
            return BackendFailed(message=f"example {index}: {error}")
        case _:
            return error
