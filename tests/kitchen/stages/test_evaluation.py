"""Evaluation: greedy answers to held-out prompts, judged, and no gradient touched."""

import math

import attrs
import pytest

from crucible.effects import Call, Proceed, Result, Success, perform, trace
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.training import forward_backward
from crucible.telemetry.events import EvaluationCompleted, SampleShown
from crucible.train.errors import BackendFailed, InvalidRequest
from crucible.train.ports import TrainingClient
from crucible.train.questions import question_of
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import AdamParams, ByteTokenizer, Row, SamplingParams
from tests.kitchen.fakes import Told, call_number, fails_with, meddling, recording
from tests.kitchen.stages.small import batched, opened
from tests.kitchen.workflows.small import BASE, HELD_OUT, TESTED, Log, handlers_of

MEASURED = attrs.evolve(BASE, evaluation=HELD_OUT)
RENDERER = ChatTemplateRenderer(ByteTokenizer())


def test_the_same_evaluation_does_the_same_and_leaves_its_context_alone() -> None:
    handlers = [handlers_of(), handlers_of()]
    contexts = [opened(some, MEASURED) for some in handlers]
    first, again = (recording(h, evaluate(c)) for h, c in zip(handlers, contexts, strict=True))
    assert first == again
    assert contexts[0] == contexts[1]


def test_without_an_evaluation_in_the_configuration_nothing_is_measured() -> None:
    handlers = handlers_of()
    context = opened(handlers)
    assert recording(handlers, evaluate(context)) == (Success(context), [])


def test_gradients_on_the_way_are_left_as_they_are() -> None:
    norms = []
    for measured in (False, True):
        handlers = handlers_of()
        context = opened(handlers, MEASURED)
        handlers.run(forward_backward(batched(context))).unwrap()
        if measured:
            handlers.run(evaluate(context)).unwrap()
        future = handlers.run(perform(TrainingClient.optim_step, context.state.session, AdamParams())).unwrap()
        norms.append(handlers.run(perform(TrainingClient.await_, future)).unwrap().grad_norm or 0.0)
    assert norms[0] == norms[1] > 0


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (50, [3])])
def test_prompts_are_answered_greedily_a_batch_at_a_time(batch_size: int, sizes: list[int]) -> None:
    config = attrs.evolve(HELD_OUT, num_examples=9, batch_size=batch_size)
    handlers, log, told = handlers_of(), Log(), Told()
    context = opened(handlers, attrs.evolve(BASE, evaluation=config))
    trace(handlers, into=log.calls.append).run(evaluate(context), writer=told).unwrap()
    sampled = [call.arguments for call in log.of("SamplingClient.sample")]
    assert [len(arguments[1]) for arguments in sampled if isinstance(arguments[1], list)] == sizes
    assert {arguments[2] for arguments in sampled} == {SamplingParams(max_tokens=4, temperature=0.0)}
    [call] = log.of("Evaluator.evaluate")
    [request] = call.arguments
    assert isinstance(request, EvaluationRequest)
    assert [(example.row, example.expected) for example in request.examples] == [
        (row, str(row["completion"])) for row in TESTED
    ]
    [shown] = [event for _, event in told.events if isinstance(event, SampleShown)]
    assert (shown.prompt, shown.expected, shown.answer) == ("100?", "100!", request.examples[0].answer)


def test_what_was_scored_is_told_and_kept_in_the_state() -> None:
    handlers, told = handlers_of(), Told()

    async def all_right(call: Call, proceed: Proceed) -> Result[object, object]:
        [request] = call.arguments
        assert isinstance(request, EvaluationRequest)
        right = tuple(
            AnsweredRow(row=it.row, answer=it.expected or "", expected=it.expected) for it in request.examples
        )
        return await proceed(attrs.evolve(call, arguments=(attrs.evolve(request, examples=right),)))

    handlers = meddling(handlers, call_number("Evaluator.evaluate"), all_right)
    state = handlers.run(evaluate(opened(handlers, MEASURED)), writer=told).unwrap().state
    assert state.metrics == {"accuracy": 1.0}
    [done] = [event for _, event in told.events if isinstance(event, EvaluationCompleted)]
    assert done == EvaluationCompleted(step=0, metrics={"accuracy": 1.0}, num_examples=2)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (EvaluationReport(metrics={"accuracy": 1.0}, scores=(1.0,)), "the evaluator scored 1 of 2 answers"),
        (EvaluationReport(metrics={"accuracy": 1.0}, scores=()), "the evaluator scored 0 of 2 answers"),
        (EvaluationReport(metrics={"accuracy": 0.0}, scores=(math.nan, math.nan)), "scored 0 of 2 answers"),
        (EvaluationReport(metrics={}, scores=(1.0, 0.0)), "the evaluator gave no metric of 2 answers"),
        (EvaluationReport(metrics={"accuracy": math.nan}, scores=(1.0, 0.0)), "gave no metric of 2 answers"),
    ],
)
def test_an_evaluation_of_nothing_is_an_error(report: EvaluationReport, said: str) -> None:
    async def reported(call: Call, proceed: Proceed) -> Result[object, object]:
        return Success(report)

    handlers, told = meddling(handlers_of(), call_number("Evaluator.evaluate"), reported), Told()
    assert said in str(handlers.run(evaluate(opened(handlers, MEASURED)), writer=told).failure())
    assert not [event for _, event in told.events if isinstance(event, EvaluationCompleted)]


def test_the_sampling_session_is_closed_also_when_sampling_fails_and_when_closing_does() -> None:
    handlers, log, broken = handlers_of(), Log(), BackendFailed(message="no")
    context = opened(handlers, MEASURED)
    failing = meddling(trace(handlers, into=log.calls.append), call_number("SamplingClient.sample"), fails_with(broken))
    assert failing.run(evaluate(context)).failure() == broken
    assert len(log.of("SamplingClient.close_session")) == 1
    failing = meddling(handlers, call_number("SamplingClient.close_session"), fails_with(broken))
    assert isinstance(failing.run(evaluate(context)), Success)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "!"}]},
        {"text": "?"},
    ],
)
def test_a_row_without_a_question_is_refused_with_its_index(row: Row) -> None:
    error = question_of(row, RENDERER, index=7).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 7
    assert error.fix


def test_a_question_is_all_but_the_last_answer() -> None:
    turns = [("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"), ("assistant", "4")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    question = question_of(row, RENDERER, index=0).unwrap()
    assert (question.text, question.expected) == ("2+2?", "4")
    text = ByteTokenizer().decode(question.prompt.tokens)
    assert text.endswith("2+2?<|im_end|>\n<|im_start|>assistant\n")
    assert "2<|im_end|>" in text
