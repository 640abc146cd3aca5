"""Runs that belong to an experiment, and that wait or end when it is paused or stopped, from whichever process."""

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar

import anyio

from crucible.effects import (
    Call,
    Do,
    Failure,
    Handlers,
    Hooks,
    Json,
    Proceed,
    Result,
    Success,
    cancelled_by_the_program,
    do,
    show_path,
)
from crucible.telemetry.errors import StoreError
from crucible.telemetry.experiments import Experiment, LifecycleError, UnknownExperiment, add_run, get_experiment
from crucible.telemetry.experiments.events import ExperimentEvent, RunHeld, RunReleased
from crucible.telemetry.experiments.lifecycle import act
from crucible.telemetry.ports import EventStore, MetricsStore

R = TypeVar("R")

logger = logging.getLogger(__name__)

_SHORTEST_NAP_SECONDS = 0.01
"""Of a run that waits and is to look before each call."""


class StoppedByExperiment(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call that was not made, because the experiment of its run was stopped. `expecting` makes a typed failure of it."""

    def __init__(self, call: Call, experiment: Experiment) -> None:
        super().__init__(call, experiment)
        self.call = call
        self.experiment = experiment

    def __str__(self) -> str:
        when = self.experiment.stopped_at or datetime.now(UTC)
        return f"experiment {self.experiment.id!r} was stopped at {when:%Y-%m-%d %H:%M:%S} UTC, before {self.call}"


@do
def in_experiment(experiment_id: str, run_id: str) -> Do[StoreError | LifecycleError, EventStore, Mapping[str, Json]]:
    """Make a run part of an experiment, and give what is to be kept with it: the `about` of `kitchen.run`.

    Fails: WrongStatus or SampleComplete when the experiment takes no more runs; then no run should begin.

    >>> from crucible.kitchen.handlers import noop
    >>> from crucible.telemetry.experiments import Design, start_experiment
    >>> store = noop.events()
    >>> _ = store.run(start_experiment(Design(name="warmup", condition="none"), experiment_id="exp"))
    >>> store.run(in_experiment("exp", "run-1")).unwrap()
    {'experiment': 'exp', 'condition': 'none'}
    """
    experiment = yield from add_run(experiment_id, run_id)
    return {"experiment": experiment.id, "condition": experiment.condition}


def controlled(
    handlers: Handlers[R], experiment_id: str, *, run_id: str, store: Handlers[EventStore], poll_seconds: float = 1.0
) -> Handlers[R]:
    """Let a run wait while its experiment is paused, and end it when the experiment is stopped.

    It looks before each call, at most every `poll_seconds`. A call that was begun is always finished, so nothing that a
    service has done is lost; telemetry goes on. When the experiment is stopped, the next call raises; what then
    unwinds the run (rollbacks, the closing of sessions) makes its calls. Put it around the layers that limit time, or the
    pause counts. A store that cannot be asked is logged, and the run goes on as it was.

    Args:
        handlers: whose calls wait.
        experiment_id: of the experiment that the run is part of.
        run_id: under which the experiment's events tell of it.
        store: where the experiment is.
        poll_seconds: how old what is known of the experiment may be.

    Raises, while running: StoppedByExperiment, through the do-blocks, whose finalizers run; no `attempt` takes it for a
        failure. LookupError when there is no such experiment.
    """
    control = _Control(experiment_id, run_id, store, poll_seconds)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.port not in {EventStore, MetricsStore}:
            await control.let_pass(call)
        return await proceed(call)

    return handlers.wrap(around, Hooks(at_start=control.begin))


class _Control:
    """What a run knows of its experiment."""

    def __init__(self, experiment_id: str, run_id: str, store: Handlers[EventStore], poll_seconds: float) -> None:
        self._id = experiment_id
        self._run_id = run_id
        self._store = store
        self._poll_seconds = poll_seconds
        self.begin()

    def begin(self) -> None:
        """Forget the run before."""
        self._experiment: Experiment | None = None
        self._looked_at: float | None = None
        self._num_held = 0
        self._is_ending = False

    async def let_pass(self, call: Call) -> None:
        """Return when the call may be made.

        Raises: StoppedByExperiment, once in a run; LookupError.
        """
        if self._is_ending:
            return
        await self._look()
        if self._status == "paused":
            async with self._held(call):
                while self._status == "paused" and not self._is_ending:
                    await anyio.sleep(max(self._poll_seconds, _SHORTEST_NAP_SECONDS))
                    await self._look()
        if self._experiment is not None and self._status in {"stopped", "archived"} and not self._is_ending:
            self._is_ending = True
            raise StoppedByExperiment(call, self._experiment)

    @property
    def _status(self) -> str | None:
        return None if self._experiment is None else self._experiment.status

    async def _look(self) -> None:
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < self._poll_seconds:
            return
        self._looked_at = now
        found = await self._ask()
        if not isinstance(found, Failure):
            self._experiment = found.unwrap()
        elif self._experiment is None and isinstance(found.failure(), UnknownExperiment):
            raise LookupError(str(found.failure()))
        else:
            logger.warning("experiment %r cannot be looked at: %s", self._id, found.failure())

    async def _ask(self) -> Result[Experiment, object]:
        try:
            return await self._store.arun(get_experiment(self._id))
        except Exception as error:  # noqa: BLE001  # a store's defect is a problem of the telemetry, not of the training
            return Failure(error)

    @asynccontextmanager
    async def _held(self, call: Call) -> AsyncIterator[None]:
        """Tell once that the run waits, and once that it goes on, however many of its calls do."""
        since = time.monotonic()
        self._num_held += 1
        if self._num_held == 1:
            await self._tell(RunHeld(run_id=self._run_id, path=show_path(call.path)))
        try:
            yield
        except anyio.get_cancelled_exc_class():
            self._is_ending = self._is_ending or not cancelled_by_the_program()
            raise
        finally:
            self._num_held -= 1
            if self._num_held == 0:
                with anyio.CancelScope(shield=True):
                    await self._tell(RunReleased(run_id=self._run_id, seconds=time.monotonic() - since))

    async def _tell(self, event: ExperimentEvent) -> None:
        told: Result[Experiment, object]
        try:
            told = await self._store.arun(act(self._id, lambda experiment: Success(event)))
        except Exception as error:  # noqa: BLE001  # as above
            told = Failure(error)
        if isinstance(told, Failure):
            logger.warning("experiment %r cannot be told %r: %s", self._id, event, told.failure())
