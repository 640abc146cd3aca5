"""Telemetry stores in memory: they live as long as their object, and are what the noop handlers give."""

from collections.abc import Mapping, Sequence

from crucible.effects import Failure, Json, Result, Success
from crucible.telemetry.errors import InvalidRecord, StoreError, UnknownRun
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint, RunInfo


class InMemoryMetricsStore(MetricsStore):
    """A `MetricsStore` in this object."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[int, MetricPoint]] = {}

    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, StoreError]:
        """Keep a batch."""
        if not run_id:
            return Failure(NAMELESS)
        if not points:
            return Success(0)
        kept = self._runs.setdefault(run_id, {})
        before = len(kept)
        for point in points:
            kept.setdefault(point.sequence, point)
        return Success(len(kept) - before)

    async def flush(self, run_id: str) -> Result[None, StoreError]:
        """Do nothing: memory is all there is."""
        return Success(None)

    async def read(
        self, run_id: str, *, name: str | None = None, since_step: int | None = None
    ) -> Result[tuple[MetricPoint, ...], StoreError]:
        """Give the points of a run."""
        return self._find(run_id).map(lambda points: select_points(points, name=name, since_step=since_step))

    async def list_metrics(self, run_id: str) -> Result[tuple[str, ...], StoreError]:
        """Give the names of a run's metrics."""
        return self._find(run_id).map(lambda points: tuple(sorted({point.name for point in points})))

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Forget the points of a run."""
        self._runs.pop(run_id, None)
        return Success(None)

    def _find(self, run_id: str) -> Result[tuple[MetricPoint, ...], StoreError]:
        kept = self._runs.get(run_id)
        return Failure(unrecorded(run_id)) if kept is None else Success(tuple(kept.values()))


class InMemoryEventStore(EventStore):
    """An `EventStore` in this object."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[RunInfo, dict[int, EventRecord]]] = {}

    async def open_run(self, run_id: str, *, metadata: Mapping[str, Json] | None = None) -> Result[RunInfo, StoreError]:
        """Make a run known."""
        if not run_id:
            return Failure(NAMELESS)
        return Success(self._runs.setdefault(run_id, (RunInfo(run_id=run_id, metadata=metadata or {}), {}))[0])

    async def insert(self, run_id: str, events: Sequence[EventRecord]) -> Result[int, StoreError]:
        """Keep a batch."""

        def inserted(kept: dict[int, EventRecord]) -> int:
            before = len(kept)
            for event in events:
                kept.setdefault(event.sequence, event)
            return len(kept) - before

        return self._find(run_id).map(inserted)

    async def query(
        self, run_id: str, wanted: EventFilter = EventFilter()
    ) -> Result[tuple[EventRecord, ...], StoreError]:
        """Give the events that fit."""
        return self._find(run_id).map(lambda kept: wanted.select(tuple(kept.values())))

    async def list_runs(self) -> Result[tuple[RunInfo, ...], StoreError]:
        """Give the runs that were opened."""
        return Success(tuple(info for _, (info, _) in sorted(self._runs.items())))

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Forget a run and its events."""
        self._runs.pop(run_id, None)
        return Success(None)

    def _find(self, run_id: str) -> Result[dict[int, EventRecord], StoreError]:
        found = self._runs.get(run_id)
        return Failure(unopened(run_id)) if found is None else Success(found[1])


NAMELESS = InvalidRecord(message="a run needs an id", fix="give one that is not empty")


def unrecorded(run_id: str) -> UnknownRun:
    """Make the error about a run that has no metrics."""
    return UnknownRun(run_id=run_id, fix="check the run id: no metric was ever recorded under it")


def unopened(run_id: str) -> UnknownRun:
    """Make the error about a run that was never opened."""
    return UnknownRun(run_id=run_id, fix="check the run id, or open the run first (open_run)")


def select_points(
    points: Sequence[MetricPoint], *, name: str | None, since_step: int | None
) -> tuple[MetricPoint, ...]:
    """Give the points asked for, by sequence number, as `MetricsStore.read` says."""
    return tuple(
        point
        for point in sorted(points, key=lambda point: point.sequence)
        if (name is None or point.name == name)
        and (since_step is None or (point.step is not None and point.step >= since_step))
    )
