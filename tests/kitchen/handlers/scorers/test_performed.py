"""Evaluation by scores that need other ports: the contract of `Evaluator`, and what becomes of the ports' failures."""

import json
import sys
from collections.abc import Callable, Sequence

import anyio
import pytest

from crucible.effects import Eff, Failure, Handlers, Result, fail, perform, pure
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import noop, scorers, subprocess
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator
from crucible.testing import check_evaluator
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    SequenceTooLong,
    SessionClosed,
    Unavailable,
)
from crucible.train.ports import CodeClient, EmbeddingClient, LLMClient
from crucible.train.scoring import CodeCase, Rubric, UnreadableVerdict, both_of
from crucible.train.types import CodeLimits, Message, text_of

RUBRIC = Rubric(criteria="The answer is the reference.", points=4)


def asked(answer: str, expected: str | None = "4", question: str = "2 + 2?") -> AnsweredRow:
    return AnsweredRow(row={"question": question, "answer": expected or ""}, answer=answer, expected=expected)


def outcome(handlers: Handlers[Evaluator], *examples: AnsweredRow) -> Result[EvaluationReport, KitchenError]:
    request = EvaluationRequest(dataset="sums", examples=examples, metrics=("accuracy", "mean_score"))
    return handlers.run(perform(Evaluator.evaluate, request))


def program(source: str) -> str:
    return f"Here it is:\n```python\n{source}\n```\n"


def comparing(messages: Sequence[Message]) -> str:
    """A judge that knows one rule: the answer and the reference are to be the same."""
    seen = json.loads(text_of(messages[-1]))
    right = seen["answer"] == seen.get("reference")
    return json.dumps({"reasoning": "compared", "points": 4 if right else 1})


def comparing_judge() -> Handlers[Evaluator]:
    return scorers.evaluator_of(scorers.verdict(RUBRIC), using=noop.llm(answer=comparing))


def test_similarity_keeps_the_contract() -> None:
    check_evaluator(
        lambda: scorers.evaluator_of(scorers.similarity, using=noop.embeddings()),
        right=[asked("four", "four"), asked("Paris", "Paris.")],
        wrong=[asked("a dog", "the cat")],
    )


def test_a_judge_keeps_the_contract() -> None:
    check_evaluator(comparing_judge, right=[asked("4"), asked("5", "5")], wrong=[asked("5")])


def test_programs_keep_the_contract() -> None:
    handlers = noop.code(write=lambda ran: ran.source.strip())
    check_evaluator(
        lambda: scorers.evaluator_of(scorers.cases_passed(), using=handlers),
        right=[asked(program("4")), asked(program("5"), "5")],
        wrong=[asked(program("3")), asked("no program")],
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of what Linux offers")
def test_real_programs_are_run_in_a_sandbox() -> None:
    def doubled(example: AnsweredRow) -> Sequence[CodeCase]:
        return [CodeCase(stdin="2", stdout="4"), CodeCase(stdin="3", stdout="6")]

    score = scorers.cases_passed(doubled, limits=CodeLimits(wall_seconds=20.0))
    judge = scorers.evaluator_of(score, using=subprocess.code(), at_once=2)
    answers = ["print(int(input()) * 2)", "print(int(input()) ** 2)", "raise SystemExit(1)", "open('/etc/passwd')"]
    report = outcome(judge, *(asked(program(answer)) for answer in answers), asked("I cannot.")).unwrap()
    assert report.scores == (1.0, 0.5, 0.0, 0.0, 0.0)
    assert report.metrics == {"accuracy": 0.2, "mean_score": 0.3}


def test_a_judge_sees_the_question_the_answer_and_the_reference() -> None:
    seen: list[object] = []

    def watching(messages: Sequence[Message]) -> str:
        seen.append(json.loads(text_of(messages[-1])))
        return comparing(messages)

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    judge = scorers.evaluator_of(scorers.verdict(RUBRIC), using=noop.llm(answer=watching), at_once=1)
    report = outcome(judge, asked("4"), AnsweredRow(row={"messages": turns}, answer="5", expected=None)).unwrap()
    assert report.scores == (1.0, 0.25)
    assert seen == [
        {"question": "2 + 2?", "answer": "4", "reference": "4"},
        {"question": "system: Be brief.\n\nuser: 2 + 2?", "answer": "5"},
    ]


def test_what_counts_as_right_is_chosen() -> None:
    def scored(example: AnsweredRow) -> Eff[float, scorers.ScoreError, EmbeddingClient]:
        return pure(float(example.answer))

    examples = (asked("0.5"), asked("0.8"), asked("1.0"))
    strict = outcome(scorers.evaluator_of(scored, using=noop.embeddings()), *examples).unwrap()
    lenient = outcome(scorers.evaluator_of(scored, using=noop.embeddings(), right_at=0.8), *examples).unwrap()
    assert (strict.metrics["accuracy"], lenient.metrics["accuracy"]) == pytest.approx((1 / 3, 2 / 3))
    assert strict.scores == lenient.scores == (0.5, 0.8, 1.0)


def test_scores_are_composed_and_need_the_ports_of_both() -> None:
    judged = scorers.verdict(RUBRIC)

    def score(example: AnsweredRow) -> Eff[float, scorers.ScoreError, EmbeddingClient | LLMClient]:
        return both_of(scorers.similarity(example), judged(example))

    judge = scorers.evaluator_of(score, using=noop.embeddings() | noop.llm(answer=comparing))
    assert outcome(judge, asked("4"), asked("4!")).unwrap().scores == (1.0, 0.25)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidRequest(message="odd", fix="do"), InvalidRequest(message="odd", fix="do", index=1)),
        (Unavailable(message="429", retry_after_seconds=3.0), Unavailable(message="429", retry_after_seconds=3.0)),
        (AccessDenied(message="no key"), AccessDenied(message="no key")),
        (BackendFailed(message="broke"), BackendFailed(message="example 1: broke")),
        (SessionClosed(session_id="s"), BackendFailed(message=f"example 1: {SessionClosed(session_id='s')}")),
        (NonFiniteLoss(loss=1e400), BackendFailed(message=f"example 1: {NonFiniteLoss(loss=1e400)}")),
        (
            UnreadableVerdict(text="well", problem="it is no JSON"),
            BackendFailed(message="example 1: the judge's verdict cannot be read (it is no JSON): 'well'"),
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_port_is_one_of_the_evaluator_and_never_a_score(
    error: scorers.ScoreError, expected: KitchenError
) -> None:
    def score(example: AnsweredRow) -> Eff[float, scorers.ScoreError, EmbeddingClient]:
        return pure(1.0) if example.answer == "4" else fail(error)

    judge = scorers.evaluator_of(score, using=noop.embeddings())
    assert outcome(judge, asked("4"), asked("5")) == Failure(expected)


def test_a_text_that_is_too_long_is_a_request_that_names_its_example_and_the_limit() -> None:
    def score(example: AnsweredRow) -> Eff[float, scorers.ScoreError, EmbeddingClient]:
        return fail(SequenceTooLong(index=7, length=600, limit=512))

    error = outcome(scorers.evaluator_of(score, using=noop.embeddings()), asked("4")).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 0
    assert "600" in str(error)
    assert "512" in str(error)


def test_a_judge_that_gives_no_verdict_says_nothing_about_the_answer() -> None:
    judge = scorers.evaluator_of(scorers.verdict(RUBRIC), using=noop.llm(answer=lambda messages: "Looks fine."))
    error = outcome(judge, asked("4")).failure()
    assert isinstance(error, BackendFailed)
    assert "Looks fine." in str(error)


@pytest.mark.parametrize(
    "make",
    [
        comparing_judge,
        lambda: scorers.evaluator_of(scorers.cases_passed(lambda example: ()), using=noop.code()),
        lambda: scorers.evaluator_of(scorers.similarity, using=noop.embeddings()),
    ],
    ids=["judge", "programs", "similarity"],
)
def test_a_row_that_cannot_be_judged_is_refused(make: Callable[[], Handlers[Evaluator]]) -> None:
    error = outcome(make(), AnsweredRow(row={"unread": 1}, answer="4", expected=None)).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 0


@pytest.mark.anyio
async def test_examples_are_scored_side_by_side_up_to_the_limit() -> None:
    running, most = 0, 0

    class Counting(CodeClient):
        async def run(self, program: object) -> Failure[Unavailable]:
            nonlocal running, most
            running, most = running + 1, max(most, running + 1)
            await anyio.lowlevel.checkpoint()
            running -= 1
            return Failure(Unavailable(message="no sandbox"))

    def score(example: AnsweredRow) -> Eff[float, scorers.ScoreError, CodeClient]:
        return scorers.cases_passed()(example).lash(lambda error: pure(0.0))

    judge = scorers.evaluator_of(score, using=CodeClient.handled_by(Counting()), at_once=3)
    request = EvaluationRequest(dataset="d", examples=(asked(program("4")),) * 9)
    report = (await judge.arun(perform(Evaluator.evaluate, request))).unwrap()
    assert report.scores == (0.0,) * 9
    assert most == 3


@pytest.mark.parametrize(("right_at", "at_once"), [(0.0, 1), (1.5, 1), (float("nan"), 1), (1.0, 0)])
def test_settings_that_mean_nothing_are_refused(right_at: float, at_once: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        scorers.evaluator_of(scorers.similarity, using=noop.embeddings(), right_at=right_at, at_once=at_once)
