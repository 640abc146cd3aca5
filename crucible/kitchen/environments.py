"""Rows as environments whose answers the `Evaluator` judges: whatever it judges, a policy can be trained on.

So a reasoning-gym task, a problem graded by math-verify and a question scored by words in common are the same environment
on different handlers.
"""

from collections.abc import Callable

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, do, fail, perform, pure
from crucible.fields import AT_LEAST_0, checked
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import AnsweredRow, EvaluationRequest, Evaluator
from crucible.train.environments import EnvironmentFailed, Grade, ProblemEnv, environment_failure
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.questions import exchange_of
from crucible.train.renderers import Renderer
from crucible.train.supervised import conversation_of
from crucible.train.types import Message, Row


def whole_text(text: str) -> str | None:
    """Take the whole text for the answer."""
    return text


@attrs.frozen(kw_only=True, field_transformer=checked)
class RowRules:
    """How rows become environments.

    Args:
        dataset: where the rows are from; an evaluator that knows many tasks goes by it.
        extract: finds the answer in what the policy wrote; None for what has not the form that was asked for.
        prefix: a conversation before the row's own, such as a system message that asks for a form.
        format_coef: what a wrong form costs.
        needs_answer: whether a row must hold the answer that is expected. Some tasks have verifiers that need none.
    """

    dataset: str
    extract: Callable[[str], str | None] = whole_text
    prefix: tuple[Message, ...] = ()
    format_coef: float = attrs.field(default=0.1, metadata=AT_LEAST_0)
    needs_answer: bool = True


def row_environment(
    row: Row, renderer: Renderer, rules: RowRules, *, index: int = 0
) -> Result[ProblemEnv[Evaluator], TrainError]:
    """Make the environment of a row: an assistant's message at its end is what is expected, those before it are asked.

    A text without an answer in the form asked for scores 0 unjudged.

    Fails: InvalidRequest with the index when the row asks nothing, or has no answer and needs one.
    """
    return conversation_of(row, index=index).bind(lambda messages: _environment(row, messages, renderer, rules, index))


def evaluator_grade(dataset: str, row: Row) -> Grade[Evaluator]:
    """Make the function that has the `Evaluator` score one answer to a row.

    Fails: EnvironmentFailed with the evaluator's error, or when its score is not one number from 0 to 1.
    """
    return lambda answer, expected: _scored(dataset, AnsweredRow(row=row, answer=answer, expected=expected))


def _environment(
    row: Row, messages: tuple[Message, ...], renderer: Renderer, rules: RowRules, index: int
) -> Result[ProblemEnv[Evaluator], TrainError]:
    split = exchange_of(messages, index=index)
    if isinstance(split, Failure):
        return split
    exchange = split.unwrap()
    if rules.needs_answer and exchange.expected is None:
        message = "the row does not end with an assistant message"
        fix = "use rows that have an answer, or needs_answer=False where the evaluator needs none"
        return Failure(InvalidRequest(message=message, fix=fix, index=index))

    def score(text: str) -> Eff[float, EnvironmentFailed, Evaluator]:
        answer = rules.extract(text)
        if answer is None:
            return pure(0.0)
        return _scored(rules.dataset, AnsweredRow(row=row, answer=answer, expected=exchange.expected))

    return Success(
        ProblemEnv(
            messages=(*rules.prefix, *exchange.asked),
            renderer=renderer,
            score=score,
            check_format=lambda text: rules.extract(text) is not None,
            format_coef=rules.format_coef,
        )
    )


@do
def _scored(dataset: str, example: AnsweredRow) -> Do[EnvironmentFailed, Evaluator, float]:
    request = EvaluationRequest(dataset=dataset, examples=(example,))
    report = yield from perform(Evaluator.evaluate, request).alt(_alone).alt(_NOT_JUDGED)
    scores = report.scores
    if len(scores) != 1 or not 0.0 <= scores[0] <= 1.0:
        yield from fail(EnvironmentFailed(message=f"the evaluator scored one answer with {scores}"))
    return scores[0]


def _alone(error: KitchenError) -> KitchenError:
    """Leave out the index of the one example that was asked about: it is no index of a row."""
    return attrs.evolve(error, index=None) if isinstance(error, InvalidRequest) else error


_NOT_JUDGED = environment_failure("the answer was not judged")
