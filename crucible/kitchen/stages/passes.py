"""Passes over the data: epochs, their order, and the batches that are left of each."""

from collections.abc import Sequence
from typing import Generic, Never, TypeVar

import attrs

from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import Stage, pure_stage
from crucible.kitchen.states import TrainingState
from crucible.train.algorithms.batching import epoch_batches

S = TypeVar("S", bound=TrainingState[TrainingConfig])


class Passes(Generic[S]):
    """What the loops of one workflow go over: `passes = Passes[SupervisedState]()`, then `passes.epochs`."""

    def epochs(self, state: S) -> Sequence[int]:
        """The epochs that are left: a resumed run goes on in the epoch in which its checkpoint was made."""
        return range(state.epoch, state.config.epochs)

    def batches(self, state: S) -> Sequence[tuple[int, ...]]:
        """The batches of this epoch that are left, each the indices of its examples."""
        return state.batches

    @property
    def set_epoch(self) -> Stage[Context[Iteration[S, int]], Context[S], Never, Never]:
        """Shuffle the data for this epoch: reproducibly, and differently in each."""
        return pure_stage(_set_epoch)


def _set_epoch(context: Context[Iteration[S, int]]) -> Context[S]:
    """Shuffle the data for this epoch: reproducibly, and differently in each."""
    state, epoch = context.state.state, context.state.item
    batches = epoch_batches(state.num_examples, batch_size=state.config.batch_size, epoch=epoch, seed=state.config.seed)
    left = batches[max(state.batches_done - epoch * len(batches), 0) :]
    return context.to(attrs.evolve(state, epoch=epoch, batches=left))


_set_epoch.__name__ = "set_epoch"
