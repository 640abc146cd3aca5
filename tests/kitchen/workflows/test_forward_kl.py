"""Distillation by forward KL on handlers that need nothing: the student learns the teachers' likeliest tokens."""

import math
from itertools import pairwise
from statistics import fmean
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Handlers, Journal, record, replay, trace
from crucible.kitchen import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.handlers.noop._bigram import Policy, ranked
from crucible.kitchen.stages.distillation import DistillationConfig, DistillationState
from crucible.kitchen.stages.forward_kl import lesson_of
from crucible.kitchen.workflows.distillation import distillation_forward_kl
from crucible.telemetry.events import DistillationStep, EpochCompleted
from crucible.train.algorithms.distillation import imitation_datum
from crucible.train.errors import BackendFailed, NonFiniteLoss, TrainError
from crucible.train.types import (
    AdamParams,
    DatasetConfig,
    ModelInput,
    Row,
    SamplingConfig,
    SessionConfig,
    TokenLogprob,
)
from tests.kitchen.fakes import call_number, fails_with, meddling, raises
from tests.kitchen.workflows.runs import (
    Ran,
    apart_from_names,
    changes_of,
    checkpoints_in,
    labels_and_steps,
    on_nothing,
    ran,
    sessions_left_open,
)
from tests.kitchen.workflows.small import Log

Taught: TypeAlias = Ran[Context[DistillationState], TrainError | KitchenError]

OTHER = SamplingConfig(model="other")
THIRD = SamplingConfig(model="third")
ASK = "TopLogprobsClient.compute_top_logprobs"
BASE = DistillationConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="lessons"),
    teachers=(OTHER,),
    learning_rate=1e-3,
    batch_size=2,
    max_tokens=3,
    num_top=4,
)
LESSONS: tuple[Row, ...] = tuple({"prompt": f"{number}?", "completion": "!"} for number in range(5))


def handlers_of(*, shelf: Shelf | None = None) -> Handlers[EveryPort]:
    return on_nothing(LESSONS, LESSONS[:2], shelf=shelf)


def taught(config: DistillationConfig, handlers: Handlers[EveryPort] | None = None) -> Taught:
    return ran(handlers or handlers_of(), distillation_forward_kl(Context.start(config, run_id="evening")))


def config_of(**fields: Any) -> DistillationConfig:
    return attrs.evolve(BASE, **fields)


configs = st.builds(
    config_of,
    mode=st.sampled_from(["on_policy", "off_policy"]),
    teachers=st.sampled_from([(OTHER,), (OTHER, THIRD)]),
    epochs=st.integers(1, 2),
    batch_size=st.integers(2, 3),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    teacher_batch=st.integers(1, 4),
    num_top=st.sampled_from([1, 2, 5, 1000]),
    tail=st.sampled_from(["renormalise", "drop"]),
    seed=st.integers(0, 2),
    save_every=st.integers(0, 3),
)
LEARNING = attrs.evolve(BASE, epochs=8, batch_size=5, schedule="constant", adam=AdamParams(), num_top=16)


# It learns


@pytest.mark.parametrize("teachers", [(OTHER,), (OTHER, THIRD)])
def test_the_kl_to_the_teachers_goes_down_step_by_step(teachers: tuple[SamplingConfig, ...]) -> None:
    kl = [step.metrics["teacher_kl"] for step in taught(config_of_learning(teachers)).events(DistillationStep)]
    assert len(kl) == 8
    assert all(later < earlier for earlier, later in pairwise(kl))
    assert kl[-1] < 0.9 * kl[0]


def config_of_learning(teachers: tuple[SamplingConfig, ...]) -> DistillationConfig:
    return attrs.evolve(LEARNING, teachers=teachers)


@settings(max_examples=15)
@given(configs)
def test_what_is_told_is_the_kl_computed_from_the_models_themselves(config: DistillationConfig) -> None:
    config = attrs.evolve(config, batch_size=5)
    run = taught(config)
    first, state = run.events(DistillationStep)[0], run.outcome.unwrap().state
    student, terms, entropies = Policy("noop", 0), [], []
    for index, answer in enumerate(state.answers):
        teacher = Policy(config.teachers[index % len(config.teachers)].model, 0)
        weights = answer.loss_fn_inputs["weights"].data
        for token, weight in zip(answer.model_input.tokens, weights, strict=True):
            if weight:
                logprobs = teacher.logprobs(token)
                top = ranked(logprobs)[: config.num_top]
                mass = sum(math.exp(logprobs[one]) for one in top) if config.tail == "renormalise" else 1.0
                p = {one: math.exp(logprobs[one]) / mass for one in top}
                terms.append(sum(q * (math.log(q) - student.logprobs(token)[one]) for one, q in p.items()))
                entropies.append(-sum(q * math.log(q) for q in p.values()))
    assert first.num_tokens == len(terms)
    assert first.metrics["teacher_kl"] == pytest.approx(fmean(terms))
    assert first.metrics["teacher_entropy"] == pytest.approx(fmean(entropies), abs=1e-12)
    assert first.metrics["loss"] == pytest.approx(fmean(terms) + fmean(entropies))


def test_of_one_token_and_a_sure_teacher_it_is_imitation() -> None:
    whole, dropped = (taught(attrs.evolve(BASE, num_top=1, tail=tail)) for tail in ("renormalise", "drop"))
    first, second = (run.events(DistillationStep)[0].metrics for run in (whole, dropped))
    assert first["teacher_entropy"] == 0.0 < second["teacher_entropy"]
    assert first["teacher_kl"] == first["loss"] > second["loss"]


# The run


@settings(max_examples=15)
@given(configs)
def test_every_answer_is_learned_once_in_each_epoch_and_steps_are_counted_once(config: DistillationConfig) -> None:
    run = taught(config)
    state, steps = run.outcome.unwrap().state, config.epochs * math.ceil(5 / config.batch_size)
    assert (state.step, state.batches_done) == (steps, steps)
    assert [event.step for event in run.events(DistillationStep)] == list(range(1, steps + 1))
    places = sum(answer.num_loss_tokens for answer in state.answers)
    assert sum(event.num_tokens for event in run.events(DistillationStep)) == places * config.epochs
    assert len(run.events(EpochCompleted)) == config.epochs
    labelled = labels_and_steps(run.log.calls)
    assert all(label == number for label, number in labelled)
    assert [event.step for event in checkpoints_in(run)] == [number for _, number in labelled]
    assert not run.log.of("SamplingClient.compute_logprobs")


@settings(max_examples=10)
@given(configs)
def test_each_teacher_is_asked_once_about_its_own_answers(config: DistillationConfig) -> None:
    log = taught(config).log
    answered, asked = dict[object, int](), dict[object, int]()
    for call in log.of("SamplingClient.sample"):
        answered[call.arguments[0]] = answered.get(call.arguments[0], 0) + number_in(call.arguments[1])
    for call in log.of(ASK):
        assert call.keywords == {"num_top": config.num_top}
        assert number_in(call.arguments[1]) <= config.teacher_batch
        asked[call.arguments[0]] = asked.get(call.arguments[0], 0) + number_in(call.arguments[1])
    assert asked == answered
    assert sum(asked.values()) == 5


def number_in(argument: object) -> int:
    assert isinstance(argument, tuple | list)
    return len(argument)


@settings(max_examples=10)
@given(configs)
def test_the_same_run_does_the_same_and_leaves_its_input_alone(config: DistillationConfig) -> None:
    before = attrs.evolve(config)
    first, again = taught(config), taught(config)
    assert config == before
    assert (first.outcome, first.told) == (again.outcome, again.told)
    assert first.effects == again.effects


@settings(max_examples=5)
@given(configs)
def test_a_replay_without_handlers_gives_what_was_recorded(config: DistillationConfig) -> None:
    journal = Journal()
    first = taught(config, record(handlers_of(), journal))
    again = ran(replay(journal), distillation_forward_kl(Context.start(config, run_id="evening")))
    assert (again.outcome, again.told) == (first.outcome, first.told)


@settings(max_examples=8)
@given(configs)
def test_resumed_from_any_checkpoint_a_run_comes_to_the_same_end(config: DistillationConfig) -> None:
    config, shelf = attrs.evolve(config, save_every=1), Shelf()
    run = taught(config, handlers_of(shelf=shelf))
    whole = run.outcome.unwrap().state
    for checkpoint in checkpoints_in(run):
        resumed = taught(attrs.evolve(config, resume_from=checkpoint.path), handlers_of(shelf=shelf))
        state = resumed.outcome.unwrap().state
        ends = [attrs.evolve(apart_from_names(each), epoch_loss=0.0, epoch_steps=0) for each in (state, whole)]
        assert ends[0] == ends[1]
        assert changes_of(state, shelf) == changes_of(whole, shelf)


def test_a_configuration_for_the_students_own_samples_is_run_on_the_teachers() -> None:
    assert BASE.mode == "on_policy"
    run = taught(BASE)
    assert run.outcome.unwrap().state.config.mode == "off_policy"
    assert not run.log.of("SamplingClient.compute_logprobs")


# What goes wrong


@pytest.mark.parametrize(
    ("failing", "number"),
    [
        ("SamplingClient.start_session", 2),
        ("SamplingClient.sample", 1),
        (ASK, 1),
        (ASK, 2),
        ("TrainingClient.forward_backward", 2),
        ("TrainingClient.optim_step", 1),
        ("TrainingClient.await_", 1),
        ("TrainingClient.save_sampler_weights", 1),
    ],
)
@pytest.mark.parametrize("raised", [False, True])
def test_whatever_fails_teachers_and_student_are_closed(failing: str, number: int, *, raised: bool) -> None:
    config, log, ill = attrs.evolve(BASE, teachers=(OTHER, THIRD)), Log(), BackendFailed(message="ill")
    answer = raises(OSError("gas")) if raised else fails_with(ill)
    handlers = trace(meddling(handlers_of(), call_number(failing, number), answer), into=log.calls.append)
    if raised:
        with pytest.raises(OSError, match="gas"):
            handlers.run(distillation_forward_kl(Context.start(config)))
    else:
        assert handlers.run(distillation_forward_kl(Context.start(config))).failure() == ill
    assert sessions_left_open(log) == []


def test_a_run_that_broke_is_resumed_from_its_last_checkpoint() -> None:
    shelf, config = Shelf(), attrs.evolve(BASE, epochs=2, save_every=2)
    whole = taught(config, handlers_of(shelf=shelf)).outcome.unwrap().state
    failing = call_number("TrainingClient.forward_backward", 4)
    broken = taught(config, meddling(handlers_of(shelf=shelf), failing, fails_with(NonFiniteLoss(loss=math.inf))))
    path = checkpoints_in(broken)[-1].path
    state = taught(attrs.evolve(config, resume_from=path), handlers_of(shelf=shelf)).outcome.unwrap().state
    assert changes_of(state, shelf) == changes_of(whole, shelf)
    assert state.step == whole.step == 6


def test_a_teacher_that_names_no_token_is_an_error_and_impossible_tokens_are_left_out() -> None:
    answer = imitation_datum(ModelInput.from_tokens([5, 6]), [7])
    places = [(), (), (TokenLogprob(7, 0.0), TokenLogprob(8, -math.inf))]
    lesson = lesson_of(answer, places, tail="renormalise").unwrap()
    inputs = lesson.datum.loss_fn_inputs
    assert [list(inputs[name].data) for name in ("target_tokens", "weights")] == [[0, 7], [0, 1]]
    assert lesson.entropy == 0.0
    assert isinstance(lesson_of(answer, [(), (), ()], tail="drop").failure(), BackendFailed)
    assert isinstance(lesson_of(answer, [(), (), places[2][1:]], tail="drop").failure(), BackendFailed)


@pytest.mark.parametrize("wrong", [{"num_top": 0}, {"num_top": -1}])
def test_a_number_of_tokens_that_no_backend_takes_is_refused_with_the_configuration(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="num_top"):
        attrs.evolve(BASE, **wrong)
