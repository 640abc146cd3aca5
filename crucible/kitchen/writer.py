"""`StoreWriter`: brings what a run tells to the MetricsStore and the EventStore."""

from collections.abc import Callable, Mapping
from datetime import datetime

import anyio

from crucible.effects import Eff, Failure, Interpret, Json, Path, perform, show_path
from crucible.telemetry.errors import StoreError
from crucible.telemetry.measures import measure, name_of
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint


class StoreWriter:
    """Collects what is told and flushes it through the telemetry ports.

    A store that fails, or raises, never stops the run, and neither does a listener: what a store did not take stays here
    and is offered again at the next flush; `problems` says what went wrong. Everything told is kept in `told` for the
    run's result.
    """

    def __init__(
        self,
        run_id: str,
        interpret: Interpret[MetricsStore | EventStore],
        *,
        clock: Callable[[], datetime],
        first_sequence: int = 0,
        listener: Callable[[object], None] | None = None,
    ) -> None:
        self._run_id = run_id
        self._interpret = interpret
        self._clock = clock
        self._next_sequence = first_sequence
        self._listener = listener
        self._points: list[MetricPoint] = []
        self._events: list[EventRecord] = []
        self._flushing = anyio.Lock()
        self._unopened: Mapping[str, Json] | None = None
        self.told: list[object] = []
        self.points: list[MetricPoint] = []
        self.problems: list[str] = []

    @property
    def num_waiting(self) -> int:
        """How many records no store has taken yet."""
        return len(self._points) + len(self._events)

    def open_later(self, metadata: Mapping[str, Json], *, because: StoreError) -> None:
        """Open the run in the EventStore before the next events are offered: it could not be opened at the start."""
        self._unopened = metadata
        self.add_problem(str(because))

    def append(self, path: Path, event: object) -> None:
        """Take an event: no I/O, except for a listener such as a progress bar."""
        now = self._clock()
        measured = measure(event)
        self.told.append(event)
        self._events.append(
            EventRecord(
                name=name_of(event),
                sequence=self._sequence(),
                timestamp=now,
                attributes={"path": show_path(path), **measured.attributes, **measured.numbers},
            )
        )
        points = [
            MetricPoint(name=name, value=value, step=measured.step, sequence=self._sequence(), timestamp=now)
            for name, value in measured.metrics.items()
        ]
        self._points += points
        self.points += points
        if self._listener is not None:
            try:
                self._listener(event)
            except Exception as error:  # noqa: BLE001  # a broken progress bar is no reason to lose a night of training
                self.add_problem(f"the listener raised {error!r}")

    async def flush(self) -> None:
        """Offer the stores what they have not taken yet."""
        async with self._flushing:
            points, events = tuple(self._points), tuple(self._events)
            if points:
                recorded = perform(MetricsStore.record, self._run_id, points)
                if await self._taken(recorded):
                    del self._points[: len(points)]
            if events and await self._is_open():
                inserted = perform(EventStore.insert, self._run_id, events)
                if await self._taken(inserted):
                    del self._events[: len(events)]

    async def _is_open(self) -> bool:
        if self._unopened is not None:
            opened = perform(EventStore.open_run, self._run_id, metadata=self._unopened)
            if await self._taken(opened):
                self._unopened = None
        return self._unopened is None

    async def _taken(self, offer: Eff[object, StoreError, MetricsStore | EventStore]) -> bool:
        """Tell whether a store took what it was offered: all of it or nothing."""
        try:
            result = await self._interpret(offer)
        except Exception as error:  # noqa: BLE001  # a store's defect is a problem of the telemetry, not of the training
            self.add_problem(f"a store raised {error!r} at {offer!r}")
            return False
        if isinstance(result, Failure):
            self.add_problem(str(result.failure()))
            return False
        return True

    def add_problem(self, problem: str) -> None:
        """Note what went wrong, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def _sequence(self) -> int:
        self._next_sequence += 1
        return self._next_sequence
