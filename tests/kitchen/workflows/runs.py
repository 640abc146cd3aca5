"""Runs of any workflow on handlers that need nothing, and what can be read off them."""

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from crucible.effects import Eff, Handlers, Result, TracedCall, trace
from crucible.kitchen import Context
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop import Blobs, EveryPort, Shelf
from crucible.kitchen.states import TrainingState
from crucible.kitchen.workflows import supervised
from crucible.telemetry.events import CheckpointSaved
from crucible.train.types import Checkpoint, Row, SamplerWeights
from tests.kitchen.fakes import Told, Traced
from tests.kitchen.workflows import small
from tests.kitchen.workflows.small import Log, Weights

A = TypeVar("A")
E = TypeVar("E")
Event = TypeVar("Event")
R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Ran(Generic[A, E]):
    """A run: what it gave, what it called, what it told."""

    outcome: Result[A, E]
    log: Log
    told: Told

    def events(self, kind: type[Event]) -> list[Event]:
        """Give the events of one kind, in order."""
        return [event for _, event in self.told.events if isinstance(event, kind)]

    @property
    def effects(self) -> list[Traced]:
        """Every call with its path, arguments and result: equal when two runs did the same."""
        return [Traced.of(call) for call in self.log.calls]

    def index_of(self, name: str, *, number: int = 0) -> int:
        """Give the place of a call among all."""
        return [place for place, called in enumerate(self.log.names) if called == name][number]


def ran(handlers: Handlers[R], eff: Eff[A, E, R]) -> Ran[A, E]:
    """Run a computation and keep what it did."""
    log, told = Log(), Told()
    return Ran(outcome=trace(handlers, into=log.calls.append).run(eff, writer=told), log=log, told=told)


def on_nothing(
    rows: Sequence[Row], tested: Sequence[Row] = (), *, shelf: Shelf | None = None, held: Blobs | None = None
) -> Handlers[EveryPort]:
    """Handle every port on nothing, with these rows to train on and those to test on."""
    kept = held or Blobs()
    splits: Mapping[str, Sequence[Row]] = {"train": rows, "test": tested}
    return noop.all(shelf=shelf, held=kept) | noop.datasets(rows=splits, blobs=kept)


def taught_before(shelf: Shelf) -> Checkpoint:
    """Train on other rows, so that a checkpoint is there to start from; its weights are far from the model's own."""
    config = attrs.evolve(small.BASE, learning_rate=0.1, epochs=4, batch_size=8, save_every=4)
    state = ran(small.handlers_of(shelf=shelf), supervised(Context.start(config))).outcome.unwrap().state
    assert state.checkpoint is not None
    return state.checkpoint


def changes_of(state: TrainingState[TrainingConfig], shelf: Shelf) -> Weights:
    """Give the numbers that training has changed."""
    assert state.final_weights is not None
    return shelf.get(state.final_weights.path, kind="weights").unwrap().policy.changes


S = TypeVar("S", bound=TrainingState[TrainingConfig])


def apart_from_names(state: S) -> S:
    """Leave out what is named after a session or a checkpoint, and how the last step was come to."""
    session = attrs.evolve(state.session, id="", step=0)
    config = attrs.evolve(state.config, resume_from=None)
    return attrs.evolve(
        state, session=session, config=config, checkpoint=None, final_weights=None, batches=(), step_before=0
    )


def sessions_left_open(log: Log) -> list[object]:
    """Give the sessions, of training and of sampling, that were opened and never closed."""
    opened = [
        *log.answers("TrainingClient.start_session"),
        *log.answers("TrainingClient.restore_session"),
        *log.answers("SamplingClient.start_session"),
    ]
    closed = [*log.of("TrainingClient.close_session"), *log.of("SamplingClient.close_session")]
    return [session for session in opened if session not in [call.arguments[0] for call in closed]]


def labels_and_steps(calls: Sequence[TracedCall]) -> list[tuple[int, int]]:
    """Give, for each checkpoint, the step in its name and the optimizer steps that were submitted before it."""
    found, steps = [], 0
    for traced in calls:
        steps += traced.call.name == "TrainingClient.optim_step"
        if traced.call.name == "TrainingClient.save_checkpoint":
            label = str(traced.call.arguments[1]).split("_")[1]
            found.append((int(label), steps))
    return found


def checkpoints_in(run: Ran[A, E]) -> list[CheckpointSaved]:
    """Give the checkpoints that a run has saved."""
    return run.events(CheckpointSaved)


def steps_of_policies(log: Log) -> list[int]:
    """Give the step of each policy version that was saved."""
    saved = log.answers("TrainingClient.save_sampler_weights")
    return [weights.step for weights in saved if isinstance(weights, SamplerWeights)]
