"""Telemetry stores in JSON lines: one file for each run, one line for each record, readable with any tool.

A batch is one append. What a crash tore off at the end of a file is left out by readers, cut off by the next append, and
listed in `torn_tails`; it is never guessed at. Numbers come back bit for bit: those that JSON cannot write (NaN,
infinities) are objects that hold their bits.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from crucible.effects import Failure, Json, Result, Success, UnrecordableError
from crucible.telemetry.errors import InvalidRecord, StoreError
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores._line_file import Known, Lines, TornTail
from crucible.telemetry.stores._records import (
    StoppedError,
    event_line,
    parsed,
    point_line,
    read_event,
    read_point,
    read_run,
    run_line,
)
from crucible.telemetry.stores._run_files import RunFiles
from crucible.telemetry.stores.memory import NAMELESS, select_points, unopened, unrecorded
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint, RunInfo


class JsonlMetricsStore(MetricsStore):
    """A `MetricsStore` in `<folder>/<run id>.metrics.jsonl`. Several processes may use one folder."""

    def __init__(self, folder: Path | str) -> None:
        self._files: RunFiles[MetricPoint] = RunFiles(
            Path(folder), ".metrics.jsonl", write=point_line, read=read_point, headers=0
        )

    @property
    def torn_tails(self) -> tuple[TornTail, ...]:
        """What this object found torn off at the ends of files."""
        return tuple(self._files.torn_tails)

    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, StoreError]:
        """Keep a batch in one append."""
        if not run_id:
            return Failure(NAMELESS)
        if not points:
            return Success(0)
        return self._files.guarded(lambda: self._files.append(run_id, points), run_id)

    async def flush(self, run_id: str) -> Result[None, StoreError]:
        """Wait until the run's file is on the disk (fsync)."""
        return self._files.guarded(self._files.file(run_id).sync, run_id)

    async def read(
        self, run_id: str, *, name: str | None = None, since_step: int | None = None
    ) -> Result[tuple[MetricPoint, ...], StoreError]:
        """Give the points of a run, from its file."""
        return self._points(run_id).map(lambda points: select_points(points, name=name, since_step=since_step))

    async def list_metrics(self, run_id: str) -> Result[tuple[str, ...], StoreError]:
        """Give the names of a run's metrics, from its file."""
        return self._points(run_id).map(lambda points: tuple(sorted({point.name for point in points})))

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Delete the file of a run's metrics."""
        return self._files.guarded(lambda: self._files.delete(run_id), run_id)

    def _points(self, run_id: str) -> Result[tuple[MetricPoint, ...], StoreError]:
        def known(points: tuple[MetricPoint, ...]) -> Result[tuple[MetricPoint, ...], StoreError]:
            return Success(points) if points else Failure(unrecorded(run_id))

        return self._files.guarded(lambda: self._files.records(run_id), run_id).bind(known)


class JsonlEventStore(EventStore):
    """An `EventStore` in `<folder>/<run id>.events.jsonl`, the run itself being the first line.

    Several processes may use one folder.
    """

    def __init__(self, folder: Path | str) -> None:
        self._files: RunFiles[EventRecord] = RunFiles(
            Path(folder), ".events.jsonl", write=event_line, read=read_event, headers=1
        )

    @property
    def torn_tails(self) -> tuple[TornTail, ...]:
        """What this object found torn off at the ends of files."""
        return tuple(self._files.torn_tails)

    async def open_run(self, run_id: str, *, metadata: Mapping[str, Json] | None = None) -> Result[RunInfo, StoreError]:
        """Make the run's file, unless it is there."""
        if not run_id:
            return Failure(NAMELESS)
        return self._files.guarded(lambda: self._opened(RunInfo(run_id=run_id, metadata=metadata or {})), run_id)

    async def insert(self, run_id: str, events: Sequence[EventRecord]) -> Result[int, StoreError]:
        """Keep a batch in one append."""
        return self._files.guarded(lambda: self._files.append(run_id, events, absent=unopened(run_id)), run_id)

    async def query(
        self, run_id: str, wanted: EventFilter = EventFilter()
    ) -> Result[tuple[EventRecord, ...], StoreError]:
        """Give the events that fit, from the run's file."""

        def found() -> tuple[EventRecord, ...]:
            lines = self._files.file(run_id).read()
            if lines is None or not lines.lines:
                raise StoppedError(unopened(run_id))
            return wanted.select(self._files.records(run_id))

        return self._files.guarded(found, run_id)

    async def list_runs(self) -> Result[tuple[RunInfo, ...], StoreError]:
        """Give the runs that have a file."""
        runs: list[RunInfo] = []
        for run_id in self._files.run_ids():
            found = await self.find_run(run_id)
            if isinstance(found, Failure):
                return Failure(found.failure())
            runs += filter(None, [found.unwrap()])
        return Success(tuple(runs))

    async def find_run(self, run_id: str) -> Result[RunInfo | None, StoreError]:
        """Give one run, None where it was not opened; the files of others are not looked at."""

        def found() -> RunInfo | None:
            line = self._files.first_line(run_id)
            return None if line is None else parsed(line, read_run, path=str(self._files.path(run_id)), number=1)

        return self._files.guarded(found, run_id)

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Delete the run's file."""
        return self._files.guarded(lambda: self._files.delete(run_id), run_id)

    def _opened(self, run: RunInfo) -> RunInfo:
        there = [run]
        path = str(self._files.path(run.run_id))

        def make(lines: Lines) -> bytes:
            if lines.lines:
                there[0] = parsed(lines.lines[0], read_run, path=path, number=1)
                return b""
            try:
                return run_line(run)
            except (UnrecordableError, TypeError, ValueError) as error:
                raise StoppedError(InvalidRecord(message=f"the run's metadata: {error}")) from error

        self._files.file(run.run_id).append(Known(), make)
        return there[0]
