"""Distillation on handlers that need nothing: on the student's own samples, and on the teachers'."""

import math
from statistics import fmean
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Call, Handlers, Journal, Proceed, Result, Success, record, replay, trace
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.stages.distillation import DistillationConfig, DistillationMode, DistillationState
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows.distillation import distillation
from crucible.kitchen.workflows.supervised import supervised
from crucible.telemetry.events import DistillationStep, TrainingStep
from crucible.train.errors import BackendFailed, InvalidRequest, NonFiniteLoss, TrainError
from crucible.train.types import (
    AdamParams,
    DatasetConfig,
    Datum,
    ModelInput,
    Row,
    Sample,
    SamplingConfig,
    SessionConfig,
)
from tests.kitchen.fakes import call_number, fails_with, meddling, raises
from tests.kitchen.workflows.arenas import TOKENIZER
from tests.kitchen.workflows.runs import (
    Ran,
    apart_from_names,
    changes_of,
    checkpoints_in,
    labels_and_steps,
    on_nothing,
    ran,
    sessions_left_open,
    steps_of_policies,
)
from tests.kitchen.workflows.small import Log

Taught: TypeAlias = Ran[Context[DistillationState], TrainError | KitchenError]

OTHER = SamplingConfig(model="other")
THIRD = SamplingConfig(model="third")
BASE = DistillationConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="lessons"),
    teachers=(OTHER,),
    learning_rate=1e-3,
    batch_size=2,
    group_size=2,
    max_tokens=3,
)


def lesson(number: int, answer: str = "!") -> Row:
    """Make a row to learn on; of it only the prompt is used."""
    return {"prompt": f"{number}?", "completion": answer}


LESSONS = tuple(map(lesson, range(5)))


def handlers_of(rows: tuple[Row, ...] = LESSONS, *, shelf: Shelf | None = None) -> Handlers[EveryPort]:
    return on_nothing(rows, LESSONS[:2], shelf=shelf)


def taught(config: DistillationConfig, handlers: Handlers[EveryPort] | None = None) -> Taught:
    return ran(handlers or handlers_of(), distillation(Context.start(config, run_id="evening")))


ON_POLICY_ALONE: dict[str, Any] = {"policy_epochs": 1, "num_minibatches": 1, "kl_discount": 0.0}


def config_of(**fields: Any) -> DistillationConfig:
    return attrs.evolve(BASE, **{**fields, **(ON_POLICY_ALONE if fields["mode"] == "off_policy" else {})})


configs = st.builds(
    config_of,
    mode=st.sampled_from(["on_policy", "off_policy"]),
    teachers=st.sampled_from([(OTHER,), (OTHER, THIRD)]),
    epochs=st.integers(1, 2),
    batch_size=st.integers(2, 3),
    group_size=st.integers(1, 2),
    policy_epochs=st.integers(1, 2),
    num_minibatches=st.integers(1, 2),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    kl_discount=st.sampled_from([0.0, 0.9]),
    teacher_batch=st.integers(1, 4),
    seed=st.integers(0, 2),
    save_every=st.integers(0, 3),
)


def data_in(argument: object) -> list[Datum]:
    assert isinstance(argument, tuple | list)
    return [one for one in argument if isinstance(one, Datum)]


def inputs_in(argument: object) -> list[ModelInput]:
    assert isinstance(argument, tuple | list)
    return [one for one in argument if isinstance(one, ModelInput)]


# It learns


def a_silent_teacher(shelf: Shelf) -> SamplingConfig:
    """Train a model that likes to say nothing."""
    config = SupervisedConfig(
        session=SessionConfig(model="noop"),
        dataset=DatasetConfig(name="silence"),
        learning_rate=1e-3,
        epochs=3,
        batch_size=5,
        schedule="constant",
        adam=AdamParams(),
    )
    rows = tuple(lesson(number, "") for number in range(5))
    state = on_nothing(rows, shelf=shelf).run(supervised(Context.start(config))).unwrap().state
    assert state.final_weights is not None
    return SamplingConfig(model="noop", weights_path=state.final_weights.path)


LEARNING = attrs.evolve(
    BASE, epochs=12, batch_size=5, group_size=8, max_tokens=1, schedule="constant", adam=AdamParams()
)


def test_on_policy_lowers_the_kl_to_the_teacher() -> None:
    shelf = Shelf()
    config = attrs.evolve(LEARNING, teachers=(a_silent_teacher(shelf),))
    kl = [step.metrics["teacher_kl"] for step in taught(config, handlers_of(shelf=shelf)).events(DistillationStep)]
    assert len(kl) == 12
    assert kl[0] > 0.3
    assert fmean(kl[-3:]) < 0.05


def test_on_policy_lowers_the_kl_to_another_model() -> None:
    config = attrs.evolve(LEARNING, epochs=20, group_size=32)
    kl = [step.metrics["teacher_kl"] for step in taught(config).events(DistillationStep)]
    assert fmean(kl[-4:]) < fmean(kl[:4]) / 1.5


def test_off_policy_lowers_the_loss_on_what_the_teacher_said() -> None:
    config = attrs.evolve(LEARNING, mode="off_policy", group_size=1, epochs=6)
    losses = [step.loss for step in taught(config).events(TrainingStep)]
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.5
    assert losses == sorted(losses, reverse=True)


# Rounds


@settings(max_examples=15)
@given(configs)
def test_every_prompt_is_used_once_in_each_epoch_and_steps_are_counted_once(config: DistillationConfig) -> None:
    run = taught(config)
    state, rounds = run.outcome.unwrap().state, config.epochs * math.ceil(5 / config.batch_size)
    assert state.batches_done == rounds
    assert len(run.log.of("TrainingClient.optim_step")) == state.step
    if config.mode == "off_policy":
        assert state.step == rounds
        trained = [len(data_in(call.arguments[1])) for call in run.log.of("TrainingClient.forward_backward")]
        assert sum(trained) == 5 * config.epochs * config.answers_per_prompt
    else:
        taken = [int(event.metrics["num_updates"]) for event in run.events(DistillationStep)]
        assert steps_of_policies(run.log)[:-1] == [sum(taken[:index]) for index in range(rounds)]
        assert sum(event.metrics["num_sequences"] for event in run.events(DistillationStep)) == (
            5 * config.epochs * config.answers_per_prompt
        )
    for call in run.log.of("TrainingClient.optim_step"):
        adam = call.arguments[1]
        assert isinstance(adam, AdamParams)
        assert 0 <= adam.learning_rate <= config.learning_rate


@settings(max_examples=15)
@given(configs)
def test_a_checkpoint_labelled_n_holds_exactly_n_optimizer_steps(config: DistillationConfig) -> None:
    run = taught(config)
    labelled = labels_and_steps(run.log.calls)
    assert all(label == steps for label, steps in labelled)
    assert [event.step for event in checkpoints_in(run)] == [steps for _, steps in labelled]


@settings(max_examples=10)
@given(configs)
def test_the_same_run_does_the_same(config: DistillationConfig) -> None:
    first, again = taught(config), taught(config)
    assert (first.outcome, first.told) == (again.outcome, again.told)
    assert first.effects == again.effects


@settings(max_examples=10)
@given(configs)
def test_a_replay_without_handlers_gives_what_was_recorded_and_tells_the_same(config: DistillationConfig) -> None:
    journal = Journal()
    first = taught(config, record(handlers_of(), journal))
    again = ran(replay(journal), distillation(Context.start(config, run_id="evening")))
    assert (again.outcome, again.told) == (first.outcome, first.told)


@settings(max_examples=10)
@given(configs)
def test_resumed_from_any_checkpoint_a_run_comes_to_the_same_end(config: DistillationConfig) -> None:
    config, shelf = attrs.evolve(config, save_every=1), Shelf()
    run = taught(config, handlers_of(shelf=shelf))
    whole = run.outcome.unwrap().state
    for checkpoint in checkpoints_in(run):
        resumed = taught(attrs.evolve(config, resume_from=checkpoint.path), handlers_of(shelf=shelf))
        state = resumed.outcome.unwrap().state
        ends = [attrs.evolve(apart_from_names(each), policy=None) for each in (state, whole)]
        assert ends[0] == ends[1]
        assert changes_of(state, shelf) == changes_of(whole, shelf)


@pytest.mark.parametrize("mode", ["on_policy", "off_policy"])
def test_a_run_that_broke_is_resumed_from_its_last_checkpoint(mode: DistillationMode) -> None:
    shelf, config = Shelf(), attrs.evolve(BASE, mode=mode, epochs=2, save_every=2)
    whole = taught(config, handlers_of(shelf=shelf)).outcome.unwrap().state
    failing = call_number("TrainingClient.forward_backward", 4)
    broken = taught(config, meddling(handlers_of(shelf=shelf), failing, fails_with(NonFiniteLoss(loss=float("inf")))))
    path = checkpoints_in(broken)[-1].path
    state = taught(attrs.evolve(config, resume_from=path), handlers_of(shelf=shelf)).outcome.unwrap().state
    assert changes_of(state, shelf) == changes_of(whole, shelf)
    assert state.step == whole.step == 6


# Teachers


@settings(max_examples=10)
@given(configs)
def test_teachers_are_opened_once_and_closed_at_the_end(config: DistillationConfig) -> None:
    run = taught(config)
    opened = [call.arguments[0] for call in run.log.of("SamplingClient.start_session")]
    assert opened[: len(config.teachers)] == list(config.teachers)
    assert not set(config.teachers) & set(opened[len(config.teachers) :])
    assert run.outcome.unwrap().state.teachers == ()
    assert sessions_left_open(run.log) == []


@settings(max_examples=10)
@given(configs)
def test_off_policy_each_prompt_is_answered_once_for_all_epochs_by_the_teachers_in_turn(
    config: DistillationConfig,
) -> None:
    config = attrs.evolve(config, mode="off_policy", **ON_POLICY_ALONE)
    log = taught(config).log
    asked: dict[object, list[str]] = {}
    for call in log.of("SamplingClient.sample"):
        texts = [TOKENIZER.decode(prompt.tokens) for prompt in inputs_in(call.arguments[1])]
        assert len(texts) <= config.teacher_batch
        asked.setdefault(call.arguments[0], []).extend(texts)
    sizes = sorted(map(len, asked.values()), reverse=True)
    assert sizes == ([5] if len(config.teachers) == 1 else [3, 2])
    assert len({text for texts in asked.values() for text in texts}) == 5


def test_on_policy_several_teachers_are_mixed() -> None:
    config = attrs.evolve(BASE, num_rows=1, teachers=(OTHER, THIRD))
    run = taught(config)
    first, second = run.log.answers("SamplingClient.compute_logprobs")
    [sampled] = run.log.answers("SamplingClient.sample")
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert isinstance(sampled, tuple)
    gaps = []
    for sample, one, other in zip(sampled[0], first, second, strict=True):
        assert isinstance(sample, Sample)
        size = len(sample.tokens)
        for logprob, a, b in zip(sample.logprobs, one[-size:], other[-size:], strict=True):
            gaps.append(logprob - math.log((math.exp(a) + math.exp(b)) / 2))
    assert run.events(DistillationStep)[0].metrics["teacher_kl"] == pytest.approx(fmean(gaps))


def test_on_policy_each_sampled_token_is_rewarded_by_minus_its_own_kl() -> None:
    run = taught(attrs.evolve(BASE, num_rows=1, kl_coef=0.5))
    [seen] = run.log.answers("SamplingClient.compute_logprobs")
    assert isinstance(seen, tuple)
    [call] = run.log.of("TrainingClient.forward_backward")
    assert call.keywords["loss_fn"] == "importance_sampling"
    by_length = {tuple(one[1:]) for one in seen}
    for datum in data_in(call.arguments[1]):
        inputs = datum.loss_fn_inputs
        assert any(
            all(
                advantage == pytest.approx(0.5 * (teacher - old) if old else 0.0)
                for advantage, old, teacher in zip(inputs["advantages"].data, inputs["logprobs"].data, one, strict=True)
            )
            for one in by_length
            if len(one) == len(datum.model_input)
        )


@pytest.mark.parametrize("mode", ["on_policy", "off_policy"])
@pytest.mark.parametrize(
    ("failing", "number"),
    [
        ("SamplingClient.start_session", 2),
        ("SamplingClient.sample", 1),
        ("TrainingClient.forward_backward", 2),
        ("TrainingClient.save_sampler_weights", 1),
        ("SamplingClient.close_session", 1),
    ],
)
@pytest.mark.parametrize("raised", [False, True])
def test_whatever_fails_teachers_and_student_are_closed(
    mode: DistillationMode, failing: str, number: int, *, raised: bool
) -> None:
    config, log, ill = attrs.evolve(BASE, mode=mode, teachers=(OTHER, THIRD)), Log(), BackendFailed(message="ill")
    broken = meddling(
        handlers_of(), call_number(failing, number), raises(OSError("gas")) if raised else fails_with(ill)
    )
    handlers, work = trace(broken, into=log.calls.append), distillation(Context.start(config))
    if raised:
        with pytest.raises(OSError, match="gas"):
            handlers.run(work)
    elif failing == "SamplingClient.close_session" and mode == "on_policy":
        handlers.run(work).unwrap()  # the sampler of a round: nothing hangs on how it was closed
    else:
        assert handlers.run(work).failure() == ill
    assert sessions_left_open(log) == []


async def says_nothing(call: Call, proceed: Proceed) -> Result[object, object]:
    prompts = inputs_in(call.arguments[1])
    return Success(tuple((Sample(tokens=(), logprobs=(), stop_reason="stop"),) for _ in prompts))


def test_a_teacher_without_an_answer_is_an_error_never_an_empty_target() -> None:
    handlers = meddling(handlers_of(), call_number("SamplingClient.sample", 2), says_nothing)
    run = taught(attrs.evolve(BASE, mode="off_policy", teacher_batch=3), handlers)
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.index) == ("the teacher answered with nothing", 3)
    assert not run.log.of("TrainingClient.forward_backward")
    assert sessions_left_open(run.log) == []


def test_no_prompts_are_an_error() -> None:
    assert isinstance(taught(BASE, handlers_of(())).outcome.failure(), InvalidRequest)


def test_a_row_without_a_prompt_is_named_by_its_index() -> None:
    run = taught(BASE, handlers_of((*LESSONS, {"messages": [{"role": "assistant", "content": "?"}]})))
    error = run.outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 5
    assert sessions_left_open(run.log) == []


def test_there_is_no_distillation_without_a_teacher() -> None:
    with pytest.raises(ValueError, match="teachers"):
        attrs.evolve(BASE, teachers=())


# Nothing to learn from


async def _mute(call: Call, proceed: Proceed) -> Result[object, object]:
    """Let every sample be empty."""
    prompts, num_samples = call.arguments[1], call.keywords.get("num_samples", 1)
    assert isinstance(prompts, tuple | list)
    assert isinstance(num_samples, int)
    return Success(tuple((Sample(tokens=(), logprobs=(), stop_reason="stop"),) * num_samples for _ in prompts))


def test_a_student_that_never_says_a_token_learns_nothing_and_that_is_no_success() -> None:
    mute = meddling(handlers_of(), call_number("SamplingClient.sample", *range(1, 99)), _mute)
    run = taught(attrs.evolve(BASE, register_as="model"), mute)
    said = str(run.outcome.failure())
    assert said.startswith("no optimizer step was taken in ")
    assert "the student answered every prompt with no token at all" in said
    assert not run.log.of("TrainingClient.save_sampler_weights")[len(run.events(DistillationStep)) :]
    assert not run.log.of("ModelRegistry.register")
    assert all("teacher_kl" not in event.metrics for event in run.events(DistillationStep))
    assert sessions_left_open(run.log) == []


def test_a_kl_of_no_answer_at_all_is_not_claimed() -> None:
    measured = attrs.evolve(BASE, evaluation=EvaluationConfig(dataset=DatasetConfig(name="lessons", split="test")))
    mute = meddling(on_nothing(LESSONS, LESSONS), call_number("SamplingClient.sample", 1), _mute)
    assert "held-out prompts with no token at all" in str(taught(measured, mute).outcome.failure())
