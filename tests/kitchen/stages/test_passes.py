"""Passes over the data: which batches are left, from wherever a run goes on."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Handlers
from crucible.kitchen import Context, Iteration
from crucible.kitchen.stages.passes import Passes
from crucible.kitchen.stages.supervised import SupervisedState
from crucible.train.algorithms.batching import epoch_batches
from tests.kitchen.stages.small import opened
from tests.kitchen.workflows.small import BASE, handlers_of

PASSES = Passes[SupervisedState]()
STATE = opened(handlers_of(), attrs.evolve(BASE, epochs=3, batch_size=3)).state


def at_epoch(epoch: int, *, batches_done: int, seed: int = 0) -> SupervisedState:
    state = attrs.evolve(STATE, batches_done=batches_done, config=attrs.evolve(STATE.config, seed=seed))
    iteration = Context.start(Iteration(state=state, item=epoch, index=0))
    return Handlers.none().run(PASSES.set_epoch(iteration)).unwrap().state


@given(st.integers(0, 9), st.integers(0, 5))
def test_an_epoch_has_all_its_batches_when_it_begins(epoch: int, seed: int) -> None:
    state = at_epoch(epoch, batches_done=3 * epoch, seed=seed)
    assert state.epoch == epoch
    assert PASSES.batches(state) == epoch_batches(8, batch_size=3, epoch=epoch, seed=seed)
    assert [len(batch) for batch in PASSES.batches(state)] == [3, 3, 2]


@given(st.integers(0, 2), st.integers(0, 3))
def test_an_epoch_begun_before_has_the_batches_that_are_left(epoch: int, done: int) -> None:
    left = PASSES.batches(at_epoch(epoch, batches_done=3 * epoch + done))
    assert left == epoch_batches(8, batch_size=3, epoch=epoch, seed=0)[done:]


def test_the_epochs_left_begin_with_the_one_of_the_state() -> None:
    assert list(PASSES.epochs(STATE)) == [0, 1, 2]
    assert list(PASSES.epochs(attrs.evolve(STATE, epoch=2))) == [2]
    assert list(PASSES.epochs(attrs.evolve(STATE, epoch=3))) == []


def test_the_stage_is_shown_under_its_own_name() -> None:
    assert PASSES.set_epoch.name == "set_epoch"
