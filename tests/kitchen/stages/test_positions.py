"""Where a run is in its data stands in the names of its checkpoints, and is a place in these batches alone."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Result
from crucible.kitchen.stages.positions import Position, checkpoint_name, digest_of, position_of
from crucible.kitchen.states import Tokenized
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import ByteTokenizer, Row, TrainingSession
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, ROWS, handlers_of

CONFIG = attrs.evolve(BASE, epochs=3, batch_size=3, seed=5)
STATE = opened(handlers_of(), CONFIG).state
ROWS_DIGEST = digest_of(ROWS)


def resumed_from(
    path: str | None, *, step: int = 0, rows: tuple[Row, ...] = ROWS, **changes: Any
) -> Result[Position, TrainError]:
    session = TrainingSession(id="s", model="m", max_length=9, step=step)
    config = attrs.evolve(CONFIG, resume_from=path, **changes)
    state = Tokenized(config=config, rows=rows, session=session, tokenizer=ByteTokenizer())
    return position_of(state, num_examples=len(rows))


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


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none())))
def test_rows_with_the_same_values_have_the_same_digest(rows: list[dict[str, Any]]) -> None:
    assert digest_of(rows) == digest_of([dict(row) for row in rows])
    assert digest_of([*rows, {}]) != digest_of(rows)


def test_a_value_that_no_json_holds_counts_by_its_kind() -> None:
    assert digest_of([{"image": object()}]) == digest_of([{"image": object()}]) != digest_of([{"image": b""}])
