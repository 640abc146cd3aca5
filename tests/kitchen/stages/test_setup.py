"""How a training run begins."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Success, trace
from crucible.kitchen import Context, as_stage
from crucible.kitchen.handlers.noop import Shelf
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.setup import init_session, init_tokenizer, length_limit, load_dataset, optimization_of
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.states import Loaded
from crucible.telemetry.events import DatasetLoaded
from crucible.train.errors import InvalidRequest
from crucible.train.types import ByteTokenizer, Row, TrainingSession
from tests.kitchen.fakes import Told, recording
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, ROWS, Log, handlers_of, many_rows, train


@settings(max_examples=20)
@given(many_rows, st.none() | st.integers(1, 9))
def test_loading_gives_the_rows_in_order_and_always_does_the_same(rows: list[Row], num_rows: int | None) -> None:
    begin = Context.start(attrs.evolve(BASE, num_rows=num_rows))
    first, again = (recording(handlers_of(rows), load_dataset(begin)) for _ in range(2))
    assert first == again
    assert first[0].unwrap().state.rows == tuple(rows[:num_rows])


def test_loading_tells_of_the_rows() -> None:
    told = Told()
    handlers_of().run(load_dataset(Context.start(BASE)), writer=told).unwrap()
    events = [event for _, event in told.events if isinstance(event, DatasetLoaded)]
    assert events == [DatasetLoaded(dataset="talk", split="train", num_rows=8)]


def test_a_session_is_fresh_unless_it_goes_on_from_a_checkpoint() -> None:
    shelf = Shelf()
    checkpoint = train(attrs.evolve(BASE, save_every=1), handlers_of(shelf=shelf)).unwrap().state.checkpoint
    assert checkpoint is not None
    for path, step, call in ((None, 0, "start_session"), (checkpoint.path, 1, "restore_session")):
        log = Log()
        config = attrs.evolve(BASE, resume_from=path)
        context = Context.start(Loaded(config=config, rows=ROWS))
        handlers = trace(handlers_of(shelf=shelf), into=log.calls.append)
        assert handlers.run(init_session(context)).unwrap().state.session.step == step
        assert log.names == [f"TrainingClient.{call}"]


def test_the_tokenizer_is_the_models() -> None:
    handlers = handlers_of()
    context = handlers.run(init_session(Context.start(Loaded(config=BASE, rows=ROWS)))).unwrap()
    assert handlers.run(init_tokenizer(context)).unwrap().state.tokenizer == ByteTokenizer()


def test_the_first_state_knows_its_schedule_and_begins_at_zero() -> None:
    state = opened(handlers_of(), attrs.evolve(BASE, batch_size=3, epochs=2)).state
    assert state.optimization == optimization_of(state.config, total_steps=6)
    assert state.optimization.schedule.total_steps == 6
    assert (state.step, state.epoch, state.checkpoint, state.final_weights) == (0, 0, None, None)


@pytest.mark.parametrize(("asked", "given_"), [(None, 50), (10, 10), (50, 50)])
def test_the_length_limit_is_the_models_unless_a_lower_one_is_asked(asked: int | None, given_: int) -> None:
    session = TrainingSession(id="s", model="m", max_length=50)
    assert length_limit(attrs.evolve(BASE, max_length=asked), session) == Success(given_)


def test_a_length_limit_above_the_models_is_refused() -> None:
    session = TrainingSession(id="s", model="m", max_length=50)
    error = length_limit(attrs.evolve(BASE, max_length=51), session).failure()
    assert error == InvalidRequest(message="max_length 51 is more than m takes", fix="set it to at most 50")


def test_a_workflow_that_says_what_it_starts_from_does_nothing_by_that() -> None:
    begin = Context.start(BASE)
    assert recording(handlers_of(), starting_from(SupervisedConfig)(begin)) == (Success(begin), [])
    assert (starting_from(SupervisedConfig) >> load_dataset).show() == as_stage(load_dataset).show()
