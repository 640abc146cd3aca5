"""`StoreWriter`: brings what a run tells to the MetricsStore and the EventStore."""

from collections.abc import Callable, Mapping
from datetime import datetime

import anyio
import attrs

from crucible.effects import (
    Eff,
    Failure,
    Interpret,
    Json,
    NotRecorded,
    Path,
    perform,
    show_path,
)
from crucible.telemetry.errors import StoreError
from crucible.telemetry.measures import measure, name_of
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint, point_of

MAX_WAITING = 4096
"""Records that wait for the end of a stage; one more, and all are flushed."""

SAVE_SECONDS = 2.0
"""Between two times that what waits is saved, however long a stage takes."""


@attrs.frozen(kw_only=True)
class Numbers:
    """The numbers before the first that a writer gives to its records: its own, and those of the run that it may repeat."""

    own: int = 0
    recorded: int = 0


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
        numbers: Numbers = Numbers(),
        listener: Callable[[object], None] | None = None,
    ) -> None:
        self._run_id = run_id
        self._interpret = interpret
        self._clock = clock
        self._sequences = numbers.own
        self._repeated = numbers.recorded
        self._listener = listener
        self._points: list[MetricPoint] = []
        self._events: list[EventRecord] = []
        self._flushing = anyio.Lock()
        self._unopened: Mapping[str, Json] | None = None
        self._refused = 0
        self.save_seconds = SAVE_SECONDS
        self.told: list[object] = []
        self.points: list[MetricPoint] = []
        self.problems: list[str] = []

    @property
    def num_waiting(self) -> int:
        """How many records no store has taken yet."""
        return len(self._points) + len(self._events)

    @property
    def is_full(self) -> bool:
        """Whether more waits than should, besides what a store has refused."""
        return self.num_waiting - self._refused >= MAX_WAITING

    def open_later(self, metadata: Mapping[str, Json], *, because: StoreError) -> None:
        """Open the run in the EventStore before the next events are offered: it could not be opened at the start."""
        self._unopened = metadata
        self.add_problem(str(because))

    def append(self, path: Path, event: object) -> None:
        """Take an event: no I/O, except for a listener such as a progress bar."""
        measured = measure(event)
        metrics = measured.metrics
        first = self._claim(1 + len(metrics))
        self.told.append(event)
        record = EventRecord(
            name=name_of(event),
            sequence=first,
            timestamp=self._clock(),
            attributes={"path": show_path(path), **measured.attributes, **measured.numbers},
        )
        points = [
            point_of(name, value, measured.step, record.timestamp, sequence)
            for sequence, (name, value) in enumerate(metrics.items(), start=first + 1)
        ]
        self._events.append(record)
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
            if points and await self._taken(self._recording(points)):
                del self._points[: len(points)]
            if events and await self._is_open() and await self._taken(self._inserting(events)):
                del self._events[: len(events)]
            self._refused = self.num_waiting

    async def keep_safe(self) -> None:
        """For as long as it is left to run, flush from time to time what was told in a stage that has not ended."""
        while True:
            await anyio.sleep(self.save_seconds)
            if self.num_waiting > self._refused:
                await self.flush()

    def _recording(self, points: tuple[MetricPoint, ...]) -> Eff[int, StoreError, MetricsStore]:
        return perform(MetricsStore.record, self._run_id, points)

    def _inserting(self, events: tuple[EventRecord, ...]) -> Eff[int, StoreError, EventStore]:
        return perform(EventStore.insert, self._run_id, events)

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
        except NotRecorded:
            return True  # a replay, which has no store
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

    def _claim(self, count: int) -> int:
        """Give the first of the next numbers: what a resumed run only repeats has those it had, and is stored once."""
        if self._interpret.is_replaying:
            self._repeated += count
            return self._repeated - count + 1
        self._sequences += count
        return self._sequences - count + 1
