"""`StoreWriter`: brings what a run tells to the MetricsStore and the EventStore."""

from collections.abc import Callable
from datetime import datetime

import anyio

from crucible.effects import Failure, Interpret, Path, Result, perform, show_path
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import attributes_of, measurements_of, metrics_of, name_of
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint


class StoreWriter:
    """Collects what is told and flushes it through the telemetry ports.

    A store that fails never stops the run: what it did not take stays here and is offered again at the next flush;
    `problems` says what went wrong. Everything told is kept in `told` for the run's result.
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
        self.told: list[object] = []
        self.points: list[MetricPoint] = []
        self.problems: list[str] = []

    @property
    def num_waiting(self) -> int:
        """How many records no store has taken yet."""
        return len(self._points) + len(self._events)

    def append(self, path: Path, event: object) -> None:
        """Take an event: no I/O, except for a listener such as a progress bar."""
        now = self._clock()
        self.told.append(event)
        self._events.append(
            EventRecord(
                name=name_of(event),
                sequence=self._sequence(),
                timestamp=now,
                attributes={"path": show_path(path), **attributes_of(event), **measurements_of(event)},
            )
        )
        step, metrics = metrics_of(event) or (None, {})
        points = [
            MetricPoint(name=name, value=value, step=step, sequence=self._sequence(), timestamp=now)
            for name, value in metrics.items()
        ]
        self._points += points
        self.points += points
        if self._listener is not None:
            self._listener(event)

    async def flush(self) -> None:
        """Offer the stores what they have not taken yet."""
        async with self._flushing:
            points, events = tuple(self._points), tuple(self._events)
            if points:
                recorded = perform(MetricsStore.record, self._run_id, points)
                del self._points[: self._taken(await self._interpret(recorded), len(points))]
            if events:
                inserted = perform(EventStore.insert, self._run_id, events)
                del self._events[: self._taken(await self._interpret(inserted), len(events))]

    def _taken(self, result: Result[int, StoreError], count: int) -> int:
        """Give how many of `count` records the store took: all or none."""
        if isinstance(result, Failure):
            problem = str(result.failure())
            if problem not in self.problems:
                self.problems.append(problem)
            return 0
        return count

    def _sequence(self) -> int:
        self._next_sequence += 1
        return self._next_sequence
