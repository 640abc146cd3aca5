"""Passes over the data: epochs, their order, and the batches that are left of each."""

import re
from collections.abc import Sequence
from typing import Generic, Never, TypeVar

import attrs

from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import Stage, pure_stage
from crucible.kitchen.states import TrainingState
from crucible.train.algorithms.batching import epoch_batches, steps_per_epoch
from crucible.train.types import TrainingSession

S = TypeVar("S", bound=TrainingState[TrainingConfig])


@attrs.frozen(kw_only=True)
class Position:
    """Where a run begins or goes on."""

    step: int
    batches_done: int
    epoch: int


def position_of(config: TrainingConfig, session: TrainingSession, *, num_examples: int) -> Position:
    """Find where a run goes on: at the beginning, or where the checkpoint it resumes from was made.

    A checkpoint's name holds the batches that were done where they are not as many as its steps. A store may have put a
    copy's number behind it (`~2`), and a user a slash.
    """
    named = re.search(r"_batch_(\d+)(?:~\d+)?/?$", config.resume_from or "")
    done = session.step if named is None else int(named.group(1))
    per_epoch = max(steps_per_epoch(num_examples, batch_size=config.batch_size), 1)
    return Position(step=session.step, batches_done=done, epoch=done // per_epoch)


def checkpoint_name(state: TrainingState[TrainingConfig]) -> str:
    """Name a checkpoint after its step, and after the batches done where they are not as many."""
    name = f"step_{state.step:06d}"
    return name if state.batches_done == state.step else f"{name}_batch_{state.batches_done:06d}"


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
