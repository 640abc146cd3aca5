"""A run that is resumed from any of its checkpoints ends where it would have ended without the break."""

from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Success
from crucible.kitchen import Context
from crucible.kitchen.handlers.noop import Shelf
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.telemetry.events import CheckpointSaved, EvaluationCompleted, TrainingStep
from crucible.train.errors import InvalidRequest, NonFiniteLoss, NotFound
from crucible.train.types import SessionConfig
from tests.kitchen.fakes import Told, call_number, fails_with, meddling, raises
from tests.kitchen.workflows.small import BASE, HELD_OUT, configs, handlers_of, logged, row, train, weights_of


def without_names(state: SupervisedState) -> SupervisedState:
    """Leave out what is named after a session or a checkpoint, and how the last step was come to."""
    session = attrs.evolve(state.session, id="", step=0)
    config = attrs.evolve(state.config, resume_from=None)
    return attrs.evolve(
        state, session=session, config=config, checkpoint=None, final_weights=None, batches=(), step_before=0
    )


def steps_in(told: Told) -> list[TrainingStep]:
    return [event for _, event in told.events if isinstance(event, TrainingStep)]


@settings(max_examples=25)
@given(configs, st.integers(1, 9))
def test_resumed_from_any_checkpoint_a_run_takes_the_same_steps_to_the_same_end(
    config: SupervisedConfig, num_rows: int
) -> None:
    config, shelf = attrs.evolve(config, save_every=1), Shelf()
    rows = list(map(row, range(num_rows)))
    told = Told()
    whole = handlers_of(rows, shelf=shelf).run(supervised(Context.start(config, run_id="evening")), writer=told)
    checkpoints = [event for _, event in told.events if isinstance(event, CheckpointSaved)]
    assert len(checkpoints) == whole.unwrap().state.step
    for checkpoint in checkpoints:
        resumed_config = attrs.evolve(config, resume_from=checkpoint.path)
        again = Told()
        work = supervised(Context.start(resumed_config, run_id="evening"))
        resumed = handlers_of(rows, shelf=shelf).run(work, writer=again)
        assert without_names(resumed.unwrap().state) == without_names(whole.unwrap().state)
        assert weights_of(resumed, shelf) == weights_of(whole, shelf)
        assert steps_in(again) == steps_in(told)[checkpoint.step :]


@settings(max_examples=25)
@given(configs, st.data(), st.booleans())
def test_a_run_that_broke_anywhere_is_resumed_from_its_last_checkpoint(
    config: SupervisedConfig, data: st.DataObject, raised: bool
) -> None:
    config, shelf = attrs.evolve(config, save_every=max(config.save_every, 1)), Shelf()
    whole, log = logged(config, handlers_of(shelf=shelf))
    chosen = data.draw(st.integers(1, len(log.of("TrainingClient.optim_step"))), label="step")
    error = NonFiniteLoss(loss=float("inf"))
    answer = raises(OSError("the machine is gone")) if raised else fails_with(error)
    broken = meddling(handlers_of(shelf=shelf), call_number("TrainingClient.forward_backward", chosen), answer)
    told = Told()
    work = supervised(Context.start(config, run_id="evening"))
    if raised:
        with pytest.raises(OSError, match="the machine is gone"):
            broken.run(work, writer=told)
    else:
        assert broken.run(work, writer=told).failure() == error
    saved = [event for _, event in told.events if isinstance(event, CheckpointSaved)]
    assert [event.step for event in saved] == list(range(config.save_every, chosen, config.save_every))
    if saved:
        resumed = train(attrs.evolve(config, resume_from=saved[-1].path), handlers_of(shelf=shelf))
        assert weights_of(resumed, shelf) == weights_of(whole, shelf)
        assert resumed.unwrap().state.step == whole.unwrap().state.step


def test_a_resumed_run_may_be_resumed_again() -> None:
    config, shelf, told = attrs.evolve(BASE, epochs=2, batch_size=2, save_every=1), Shelf(), Told()
    whole = train(config, handlers_of(shelf=shelf))
    path: str | None = None
    for _ in range(8):
        work = supervised(Context.start(attrs.evolve(config, resume_from=path)))
        broken = meddling(
            handlers_of(shelf=shelf),
            call_number("TrainingClient.forward_backward", 2),
            fails_with(NonFiniteLoss(loss=float("inf"))),
        )
        broken.run(work, writer=told)
        path = [event.path for _, event in told.events if isinstance(event, CheckpointSaved)][-1]
    steps = steps_in(told)
    assert [event.step for event in steps] == list(range(1, 9))
    assert all(later.learning_rate < earlier.learning_rate for earlier, later in pairwise(steps))
    last = train(attrs.evolve(config, resume_from=path), handlers_of(shelf=shelf))
    assert weights_of(last, shelf) == weights_of(whole, shelf)


def test_a_resumed_run_measures_itself_at_the_step_it_begins_with() -> None:
    config, shelf, told = attrs.evolve(BASE, batch_size=2, save_every=3, evaluation=HELD_OUT), Shelf(), Told()
    checkpoint = train(config, handlers_of(shelf=shelf)).unwrap().state.checkpoint
    assert checkpoint is not None
    work = supervised(Context.start(attrs.evolve(config, resume_from=checkpoint.path)))
    handlers_of(shelf=shelf).run(work, writer=told).unwrap()
    evaluated = [event.step for _, event in told.events if isinstance(event, EvaluationCompleted)]
    assert evaluated == [3, 4]


def test_a_run_resumed_from_its_last_step_only_saves_its_weights() -> None:
    config, shelf = attrs.evolve(BASE, batch_size=8, save_every=1), Shelf()
    whole = train(config, handlers_of(shelf=shelf))
    checkpoint = whole.unwrap().state.checkpoint
    assert checkpoint is not None
    resumed, log = logged(attrs.evolve(config, resume_from=checkpoint.path), handlers_of(shelf=shelf))
    assert not log.of("TrainingClient.optim_step")
    assert weights_of(resumed, shelf) == weights_of(whole, shelf)


def test_a_checkpoint_that_is_not_there_is_named() -> None:
    error = train(attrs.evolve(BASE, resume_from="noop://nowhere/checkpoint/x"), handlers_of()).failure()
    assert isinstance(error, NotFound)
    assert error.name == "noop://nowhere/checkpoint/x"


def test_a_checkpoint_of_another_model_is_refused() -> None:
    shelf = Shelf()
    checkpoint = train(attrs.evolve(BASE, save_every=1), handlers_of(shelf=shelf)).unwrap().state.checkpoint
    assert checkpoint is not None
    other = attrs.evolve(BASE, session=SessionConfig(model="other"), resume_from=checkpoint.path)
    assert isinstance(train(other, handlers_of(shelf=shelf)).failure(), InvalidRequest)


def test_the_path_of_a_checkpoint_is_where_its_event_says() -> None:
    shelf, told = Shelf(), Told()
    work = supervised(Context.start(attrs.evolve(BASE, save_every=1)))
    assert isinstance(handlers_of(shelf=shelf).run(work, writer=told), Success)
    [event] = [event for _, event in told.events if isinstance(event, CheckpointSaved)]
    assert shelf.get(event.path, kind="checkpoint").unwrap().step == event.step == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 4}, "batch_size 2, not 4"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"num_rows": 7}, "other rows (dataset, num_rows)"),
    ],
)
def test_a_run_is_not_resumed_in_other_batches(changes: dict[str, Any], named: str) -> None:
    config, shelf = attrs.evolve(BASE, batch_size=2, save_every=3), Shelf()
    checkpoint = train(config, handlers_of(shelf=shelf)).unwrap().state.checkpoint
    assert checkpoint is not None
    other = attrs.evolve(config, resume_from=checkpoint.path, **changes)
    outcome, log = logged(other, handlers_of(shelf=shelf))
    error = outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert named in error.message
    assert len(log.of("TrainingClient.close_session")) == 1
    assert not log.of("TrainingClient.optim_step")


def test_a_run_that_starts_from_a_checkpoint_begins_anew_with_its_weights() -> None:
    config, shelf, told = attrs.evolve(BASE, batch_size=2, save_every=4, schedule="constant"), Shelf(), Told()
    first = train(config, handlers_of(shelf=shelf)).unwrap().state
    assert first.checkpoint is not None
    other = attrs.evolve(config, batch_size=4, seed=7, start_from=first.checkpoint.path)
    again = handlers_of(shelf=shelf).run(supervised(Context.start(other)), writer=told).unwrap().state
    assert (again.step, again.batches_done) == (2, 2)
    steps = steps_in(told)
    fresh = Told()
    handlers_of().run(supervised(Context.start(attrs.evolve(other, start_from=None))), writer=fresh).unwrap()
    assert [event.step for event in steps] == [1, 2]
    assert steps[0].loss < steps_in(fresh)[0].loss
