"""From rows to batches."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Handlers
from crucible.kitchen import Context, Iteration
from crucible.kitchen.stages.supervised import get_batch
from crucible.train.renderers import TrainOnWhat
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, handlers_of

STATE = opened(handlers_of(), attrs.evolve(BASE, epochs=3, batch_size=3)).state


@given(st.lists(st.integers(0, 7), max_size=4).map(tuple))
def test_a_batch_holds_the_data_at_its_indices(indices: tuple[int, ...]) -> None:
    iteration = Context.start(Iteration(state=STATE, item=indices, index=0))
    batch = Handlers.none().run(get_batch(iteration)).unwrap().state
    assert batch.base == STATE
    assert batch.batch == tuple(STATE.data[index] for index in indices)


@pytest.mark.parametrize("train_on", [TrainOnWhat.LAST_ASSISTANT_MESSAGE, TrainOnWhat.ALL_TOKENS])
@settings(max_examples=5)
@given(st.integers(1, 8))
def test_what_is_trained_on_is_what_was_asked(train_on: TrainOnWhat, num_rows: int) -> None:
    state = opened(handlers_of(), attrs.evolve(BASE, train_on=train_on, num_rows=num_rows)).state
    assert len(state.data) == num_rows
    for datum in state.data:
        everything = datum.num_loss_tokens == len(datum.model_input)
        assert everything == (train_on is TrainOnWhat.ALL_TOKENS)
        assert datum.num_loss_tokens > 0
