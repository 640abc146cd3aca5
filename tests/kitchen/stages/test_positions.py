"""Where a run is in its data stands in the names of its checkpoints, and is a place in these batches alone."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Handlers, Result, Success
from crucible.kitchen.kept import keep, names_kept
from crucible.kitchen.stages.positions import PLACE, Position, checkpoint_name, digest_of, placed, position_of
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.states import Tokenized
from crucible.telemetry.events import RunResumed
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import ByteTokenizer, Checkpoint, Row, TrainingSession
from tests.kitchen.fakes import Told
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, ROWS, handlers_of

CONFIG = attrs.evolve(BASE, epochs=3, batch_size=3, seed=5)
STATE = opened(handlers_of(), CONFIG).state
ROWS_DIGEST = digest_of(ROWS)


def before(
    path: str | None, *, step: int = 0, rows: tuple[Row, ...] = ROWS, kept: dict[str, str] | None = None, **changes: Any
) -> Tokenized[SupervisedConfig]:
    session = TrainingSession(id="s", model="m", max_length=9, step=step, metadata=kept or {})
    config = attrs.evolve(CONFIG, resume_from=path, **changes)
    return Tokenized(config=config, rows=rows, session=session, tokenizer=ByteTokenizer())


def resumed_from(path: str | None, **changes: Any) -> Result[Position, TrainError]:
    state = before(path, **changes)
    return position_of(state, num_examples=len(state.rows))


def going_on(path: str | None, **changes: Any) -> tuple[Result[SupervisedState, TrainError], list[object]]:
    told = Told()
    found = Handlers.none().run(placed(STATE, before(path, **changes)), writer=told)
    return found, [event for _, event in told.events]


@given(st.integers(0, 20), st.integers(0, 20))
@pytest.mark.parametrize("end", ["", "/", "~2", "~13"])
def test_a_run_goes_on_after_the_batches_that_its_checkpoint_had_used(end: str, step: int, batches_done: int) -> None:
    name = checkpoint_name(attrs.evolve(STATE, step=step, batches_done=batches_done))
    found = resumed_from(f"store://run/checkpoint/{name}{end}", step=step).unwrap()
    assert found == Position(step=step, batches_done=batches_done, epoch=batches_done // 3, data_digest=ROWS_DIGEST)


def test_a_fresh_run_begins_at_the_beginning() -> None:
    beginning = Position(step=0, batches_done=0, epoch=0, data_digest=ROWS_DIGEST)
    assert resumed_from(None).unwrap() == beginning
    assert resumed_from(None, step=4).unwrap() == beginning  # whatever the session that it starts from had done


def test_a_checkpoint_of_another_name_says_nothing_but_its_step() -> None:
    found = resumed_from("runs/mine/best", step=4).unwrap()
    assert (found.step, found.batches_done, found.epoch) == (4, 4, 1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 2}, ["batch_size 3, not 2"]),
        ({"seed": 6}, ["seed 5, not 6"]),
        ({"rows": ROWS[:7]}, ["other rows (dataset, num_rows)"]),
        ({"rows": (*ROWS[:7], {"prompt": "new", "completion": "!"})}, ["other rows"]),
        ({"batch_size": 4, "seed": -1, "rows": ROWS[1:]}, ["batch_size 3, not 4", "seed 5, not -1", "other rows"]),
    ],
)
def test_a_place_in_other_batches_is_refused_with_what_was_different(changes: dict[str, Any], named: list[str]) -> None:
    path = f"runs/mine/checkpoints/{checkpoint_name(attrs.evolve(STATE, step=2, batches_done=2))}"
    error = resumed_from(path, step=2, **changes).failure()
    assert isinstance(error, InvalidRequest)
    assert path in error.message
    assert "start_from" in error.fix
    for name in named:
        assert name in error.message
    assert error.message.count(" and ") == len(named) - 1


def test_what_does_not_move_the_place_may_change() -> None:
    path = checkpoint_name(attrs.evolve(STATE, step=2, batches_done=2))
    assert resumed_from(path, step=2, epochs=9, learning_rate=1.0, save_every=7).unwrap().step == 2


RUNNING = attrs.evolve(
    STATE, step=2, step_before=1, batches_done=2, epoch_loss=10.7458, epoch_steps=2, metrics={"accuracy": 0.1 + 0.2}
)
KEPT_THERE = {**keep(RUNNING), PLACE: checkpoint_name(RUNNING)}


@pytest.mark.parametrize("path", ["runs/mine/best", f"runs/mine/{checkpoint_name(RUNNING)}"])
def test_all_that_was_added_up_comes_back_whatever_the_checkpoint_is_called(path: str) -> None:
    found, told = going_on(path, kept=KEPT_THERE, step=2)
    checkpoint = Checkpoint(path=path, name=checkpoint_name(RUNNING), step=2)
    assert found.unwrap() == attrs.evolve(RUNNING, checkpoint=checkpoint)
    assert told == [RunResumed(step=2, path=path, missing="")]


def test_a_checkpoint_that_kept_nothing_gives_its_place_and_what_is_missing_is_told() -> None:
    path = f"runs/mine/{checkpoint_name(RUNNING)}"
    found, told = going_on(path, step=2)
    state = found.unwrap()
    assert (state.step, state.batches_done, state.epoch_loss) == (2, 2, 0.0)
    assert told == [RunResumed(step=2, path=path, missing=", ".join(names_kept(SupervisedState)))]


def test_a_place_in_other_batches_is_refused_under_another_name_too() -> None:
    found, told = going_on("runs/mine/best", kept=KEPT_THERE, step=2, batch_size=4)
    error = found.failure()
    assert isinstance(error, InvalidRequest)
    assert "batch_size 3, not 4" in error.message
    assert told == []


def test_what_cannot_be_read_is_named_with_the_checkpoint() -> None:
    error = going_on("runs/mine/best", kept={**KEPT_THERE, "epoch_loss": "much"}, step=2)[0].failure()
    assert isinstance(error, InvalidRequest)
    assert error.message == "the metadata of checkpoint runs/mine/best cannot be read: epoch_loss is 'much'"
    assert "start_from" in error.fix


def test_a_fresh_run_has_added_up_nothing_and_tells_nothing() -> None:
    assert going_on(None) == (Success(STATE), [])


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none())))
def test_rows_with_the_same_values_have_the_same_digest(rows: list[dict[str, Any]]) -> None:
    assert digest_of(rows) == digest_of([dict(row) for row in rows])
    assert digest_of([*rows, {}]) != digest_of(rows)


def test_a_value_that_no_json_holds_counts_by_its_kind() -> None:
    assert digest_of([{"image": object()}]) == digest_of([{"image": object()}]) != digest_of([{"image": b""}])
