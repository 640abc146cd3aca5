"""The supervised workflow on handlers that need nothing: what it does, step by step."""

import copy
import math
from collections import Counter
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Success, perform
from crucible.kitchen import Context
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop import Shelf
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.telemetry.events import (
    CheckpointSaved,
    DatasetBuilt,
    DatasetLoaded,
    EpochCompleted,
    EvaluationCompleted,
    ModelRegistered,
    SampleShown,
    TrainingStep,
)
from crucible.train.algorithms.schedules import Schedule, learning_rate
from crucible.train.errors import SessionClosed
from crucible.train.ports import TrainingClient
from crucible.train.types import Checkpoint, Datum, Row
from tests.kitchen.fakes import Told, recording
from tests.kitchen.workflows.small import (
    BASE,
    HELD_OUT,
    ROWS,
    Log,
    configs,
    handlers_of,
    logged,
    many_rows,
    row,
    train,
    weights_of,
)


@settings(max_examples=25)
@given(configs, many_rows)
def test_the_same_run_does_the_same_and_leaves_its_context_alone(config: SupervisedConfig, rows: list[Row]) -> None:
    begin, before = Context.start(config), copy.deepcopy(Context.start(config))
    first, again = (recording(handlers_of(rows), supervised(begin)) for _ in range(2))
    assert first == again
    assert begin == before


def steps_of(config: SupervisedConfig, log: Log) -> list[Counter[tuple[int, ...]]]:
    """Give what each epoch trained on: the tokens of its data, with their number."""
    batches = [data_of(call.arguments[1]) for call in log.of("TrainingClient.forward_backward")]
    size = len(batches) // config.epochs
    return [
        Counter(tokens for batch in batches[start : start + size] for tokens in batch)
        for start in range(0, len(batches), size)
    ]


def data_of(argument: object) -> list[tuple[int, ...]]:
    assert isinstance(argument, tuple)
    return [datum.model_input.tokens for datum in argument if isinstance(datum, Datum)]


@settings(max_examples=30)
@given(configs, st.integers(1, 9))
def test_every_row_is_trained_on_once_in_each_epoch_a_partial_batch_included(
    config: SupervisedConfig, num_rows: int
) -> None:
    outcome, log = logged(config, handlers_of(list(map(row, range(num_rows)))))
    taken = min(num_rows, config.num_rows or num_rows)
    steps = config.epochs * math.ceil(taken / config.batch_size)
    assert outcome.unwrap().state.step == steps
    assert len(log.of("TrainingClient.optim_step")) == len(log.of("TrainingClient.forward_backward")) == steps
    epochs = steps_of(config, log)
    assert all(epoch == epochs[0] and set(epoch.values()) == {1} and len(epoch) == taken for epoch in epochs)


@settings(max_examples=25)
@given(configs, st.integers(1, 9))
def test_learning_rates_follow_the_schedule_and_are_never_negative(config: SupervisedConfig, num_rows: int) -> None:
    told = Told()
    work = supervised(Context.start(config))
    state = handlers_of(list(map(row, range(num_rows)))).run(work, writer=told).unwrap().state
    schedule = Schedule(
        kind=config.schedule, peak=config.learning_rate, warmup_steps=config.warmup_steps, total_steps=state.step
    )
    steps = [event for _, event in told.events if isinstance(event, TrainingStep)]
    assert [event.step for event in steps] == list(range(1, state.step + 1))
    assert [event.learning_rate for event in steps] == [learning_rate(schedule, step) for step in range(state.step)]
    assert all(0 <= event.learning_rate <= config.learning_rate for event in steps)
    assert all(math.isfinite(event.loss) and event.grad_norm >= 0 and event.num_tokens > 0 for event in steps)


@settings(max_examples=25)
@given(configs, st.integers(1, 9))
def test_a_checkpoint_labelled_n_holds_exactly_n_optimizer_steps(config: SupervisedConfig, num_rows: int) -> None:
    _, log = logged(config, handlers_of(list(map(row, range(num_rows)))))
    done, saved = 0, []
    for traced in log.calls:
        done += traced.call.name == "TrainingClient.optim_step"
        if traced.call.name == "TrainingClient.save_checkpoint":
            assert isinstance(traced.result, Success)
            checkpoint = traced.result.unwrap()
            assert isinstance(checkpoint, Checkpoint)
            assert (checkpoint.step, checkpoint.name) == (done, f"step_{done:06d}_{checkpoint.name[12:]}")
            saved.append(done)
    assert saved == [step for step in range(1, done + 1) if config.save_every and step % config.save_every == 0]


@settings(max_examples=25)
@given(configs)
def test_the_model_is_measured_before_after_and_every_so_many_steps(config: SupervisedConfig) -> None:
    told = Told()
    final = handlers_of().run(supervised(Context.start(config)), writer=told).unwrap().state.step
    steps = [event.step for _, event in told.events if isinstance(event, EvaluationCompleted)]
    between = [step for step in range(1, final + 1) if config.eval_every and step % config.eval_every == 0]
    assert steps == (sorted({0, *between, final}) if config.evaluation else [])
    shown = [event.step for _, event in told.events if isinstance(event, SampleShown)]
    assert shown == steps


@settings(max_examples=15)
@given(configs)
def test_measuring_and_saving_change_nothing_about_what_is_learned(config: SupervisedConfig) -> None:
    alone = attrs.evolve(config, evaluation=None, eval_every=0, save_every=0, register_as=None)
    shelves = Shelf(), Shelf()
    with_all, without = (train(c, handlers_of(shelf=s)) for c, s in zip((config, alone), shelves, strict=True))
    assert weights_of(with_all, shelves[0]) == weights_of(without, shelves[1]) != {}


def test_epochs_are_shuffled_reproducibly_and_differently() -> None:
    config = attrs.evolve(BASE, epochs=3, batch_size=2)

    def orders(seed: int) -> list[list[tuple[int, ...]]]:
        _, log = logged(attrs.evolve(config, seed=seed), handlers_of())
        seen = [tokens for call in log.of("TrainingClient.forward_backward") for tokens in data_of(call.arguments[1])]
        return [seen[start : start + 8] for start in (0, 8, 16)]

    first, second, third = orders(0)
    assert first != second != third != first
    assert sorted(first) == sorted(second) == sorted(third)
    assert orders(0) == [first, second, third]
    assert orders(1)[0] not in (first, second, third)


def test_the_loss_goes_down() -> None:
    told = Told()
    config = attrs.evolve(BASE, epochs=6, batch_size=8, schedule="constant")
    handlers_of().run(supervised(Context.start(config)), writer=told).unwrap()
    losses = [event.loss for _, event in told.events if isinstance(event, TrainingStep)]
    assert all(later < earlier for earlier, later in pairwise(losses))
    means = [event.mean_loss for _, event in told.events if isinstance(event, EpochCompleted)]
    assert means == losses


def test_an_epochs_mean_loss_is_that_of_its_own_steps() -> None:
    told = Told()
    handlers_of().run(supervised(Context.start(attrs.evolve(BASE, epochs=2, batch_size=3))), writer=told).unwrap()
    steps = [event for _, event in told.events if isinstance(event, TrainingStep)]
    done = [event for _, event in told.events if isinstance(event, EpochCompleted)]
    assert [(event.epoch, event.step) for event in done] == [(0, 3), (1, 6)]
    for event in done:
        losses = [step.loss for step in steps if step.epoch == event.epoch]
        assert event.mean_loss == pytest.approx(sum(losses) / 3)


def test_the_loss_of_a_step_is_the_mean_over_its_trained_tokens() -> None:
    """A row given twice in one batch changes neither loss nor what is learned."""
    losses = []
    for rows in (ROWS[:1], ROWS[:1] * 2):
        told = Told()
        handlers_of(rows).run(supervised(Context.start(BASE)), writer=told).unwrap()
        losses += [event.loss for _, event in told.events if isinstance(event, TrainingStep)]
    assert losses[0] == pytest.approx(losses[1])


def test_what_the_dataset_holds_is_told() -> None:
    told = Told()
    handlers_of().run(supervised(Context.start(attrs.evolve(BASE, epochs=2, num_rows=5, batch_size=2))), writer=told)
    assert [event for _, event in told.events if isinstance(event, DatasetLoaded)] == [
        DatasetLoaded(dataset="talk", split="train", num_rows=5)
    ]
    [built] = [event for _, event in told.events if isinstance(event, DatasetBuilt)]
    assert (built.num_examples, built.total_steps) == (5, 6)
    assert 0 < built.num_trained_tokens < built.num_tokens
    trained = [event.num_tokens for _, event in told.events if isinstance(event, TrainingStep)]
    assert sum(trained) == 2 * built.num_trained_tokens


def test_gradients_and_update_are_both_submitted_before_either_is_awaited() -> None:
    _, log = logged(attrs.evolve(BASE, num_rows=2), handlers_of())
    names = [name.removeprefix("TrainingClient.") for name in log.names if name.startswith("TrainingClient")]
    assert names == [
        "start_session",
        "get_tokenizer",
        "forward_backward",
        "optim_step",
        "await_",
        "await_",
        "save_sampler_weights",
        "close_session",
    ]


def test_the_session_is_closed_at_the_end() -> None:
    handlers = handlers_of()
    session = train(BASE, handlers).unwrap().state.session
    closed = handlers.run(perform(TrainingClient.get_tokenizer, session)).failure()
    assert closed == SessionClosed(session_id=session.id)


def test_the_trained_weights_are_registered_with_what_they_scored_and_where_they_come_from() -> None:
    config = attrs.evolve(BASE, evaluation=HELD_OUT, register_as="talker", batch_size=4)
    told, handlers = Told(), handlers_of()
    state = handlers.run(supervised(Context.start(config, run_id="evening")), writer=told).unwrap().state
    [event] = [event for _, event in told.events if isinstance(event, ModelRegistered)]
    assert event == ModelRegistered(model_id="talker@evening", version="evening", step=2)
    from crucible.kitchen.ports import ModelRegistry

    artifact = handlers.run(perform(ModelRegistry.get, event.model_id)).unwrap().artifact
    assert state.final_weights is not None
    assert (artifact.name, artifact.uri, artifact.metrics) == ("talker", state.final_weights.path, state.metrics)
    assert set(state.metrics) == {"accuracy"}
    assert artifact.lineage == {
        "base_model": "noop",
        "dataset": "talk/train",
        "run": "evening",
        "steps": "2",
    }


def test_nothing_is_registered_unless_asked() -> None:
    _, log = logged(BASE, handlers_of())
    assert not log.of("ModelRegistry.register")


def test_checkpoints_are_told_with_their_paths() -> None:
    told = Told()
    state = handlers_of().run(supervised(Context.start(attrs.evolve(BASE, batch_size=2, save_every=2))), writer=told)
    saved = [event for _, event in told.events if isinstance(event, CheckpointSaved)]
    assert [event.step for event in saved] == [2, 4]
    checkpoint = state.unwrap().state.checkpoint
    assert checkpoint is not None
    assert (checkpoint.path, checkpoint.step) == (saved[-1].path, 4)


def test_noop_alone_has_rows_to_train_and_to_test_on() -> None:
    config = attrs.evolve(BASE, evaluation=HELD_OUT)
    assert train(config, noop.all()).unwrap().state.step == 2
