"""`StoreWriter`: brings what a run tells to the MetricsStore and the EventStore."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import anyio
import attrs

from crucible.effects import (
    Eff,
    Interpret,
    Json,
    NotRecorded,
    Path,
    fold,
    perform,
    show_path,
)
from crucible.telemetry.errors import InvalidRecord, StoreError
from crucible.telemetry.events import TelemetryRefused
from crucible.telemetry.measures import measure, name_of
from crucible.telemetry.numbering import PROBLEMS_FROM
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint, point_of

Rec = TypeVar("Rec", MetricPoint, EventRecord)

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
    and is offered again at the next flush, but for a record that no store can keep, without which the rest is offered.
    `problems` says what went wrong, and so does an event of each, for who reads the run. Everything told is kept in `told`
    for the run's result.
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
        self._problem_numbers = numbers.own + PROBLEMS_FROM
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
            points = tuple(self._points)
            if points and await self._settled(points, self._recording):
                del self._points[: len(points)]
            events = tuple(self._events)
            if events and await self._is_open() and await self._settled(events, self._inserting):
                del self._events[: len(events)]
            self._refused = self.num_waiting

    async def keep_safe(self) -> None:
        """For as long as it is left to run, flush from time to time what was told in a stage that has not ended."""
        while True:
            await anyio.sleep(self.save_seconds)
            if self.num_waiting > self._refused:
                await self.flush()

    def _recording(self, points: Sequence[MetricPoint]) -> Eff[int, StoreError, MetricsStore]:
        return perform(MetricsStore.record, self._run_id, points)

    def _inserting(self, events: Sequence[EventRecord]) -> Eff[int, StoreError, EventStore]:
        return perform(EventStore.insert, self._run_id, events)

    async def _settled(
        self,
        records: Sequence[Rec],
        offering: Callable[[Sequence[Rec]], Eff[object, StoreError, MetricsStore | EventStore]],
    ) -> bool:
        """Tell whether nothing of these need be offered again: all were taken, but for those that never can be."""
        refusal = await self._refusal(offering(records))
        if not isinstance(refusal, InvalidRecord):
            return refusal is None
        half = len(records) // 2
        return half == 0 or (
            await self._settled(records[:half], offering) and await self._settled(records[half:], offering)
        )

    async def _is_open(self) -> bool:
        if self._unopened is not None:
            opened = perform(EventStore.open_run, self._run_id, metadata=self._unopened)
            if await self._refusal(opened) is None:
                self._unopened = None
        return self._unopened is None

    async def _refusal(
        self, offer: Eff[object, StoreError, MetricsStore | EventStore]
    ) -> StoreError | Exception | None:
        """Give why a store did not take what it was offered; None where it took all of it."""
        try:
            result = await self._interpret(offer)
        except NotRecorded:
            return None  # a replay, which has no store
        except Exception as error:  # noqa: BLE001  # a store's defect is a problem of the telemetry, not of the training
            self.add_problem(f"a store raised {error!r} at {offer!r}")
            return error
        refusal: StoreError | None = fold(result, ok=lambda _: None, err=lambda error: error)
        if refusal is not None:
            self.add_problem(str(refusal))
        return refusal

    def add_problem(self, problem: str) -> None:
        """Note what went wrong, once, and tell it."""
        if problem in self.problems:
            return
        self.problems.append(problem)
        self._problem_numbers += 1
        attributes = {"path": "", "problem": problem}
        number, now = self._problem_numbers, self._clock()
        self._events.append(
            EventRecord(name=TelemetryRefused.NAME, sequence=number, timestamp=now, attributes=attributes)
        )

    def _claim(self, count: int) -> int:
        """Give the first of the next numbers: what a resumed run only repeats has those it had, and is stored once."""
        if self._interpret.is_replaying:
            self._repeated += count
            return self._repeated - count + 1
        self._sequences += count
        return self._sequences - count + 1
