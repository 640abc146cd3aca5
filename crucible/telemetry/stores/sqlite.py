"""Telemetry stores in SQLite: one file for each run, one transaction for each batch. The default of a run that is kept.

A batch that was acknowledged survives the death of the process; `flush` makes it survive a power cut. The file must be on
a local disk: SQLite's write-ahead log needs shared memory, which network file systems do not have. There, use the JSON lines.
"""

import gc
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias, TypeVar, cast

import attrs

from crucible.effects import Failure, Json, Result, Success, UnrecordableError, decode, encode
from crucible.telemetry.errors import InvalidRecord, StoreError
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores._database import FIX_OF_PAYLOAD, RunDatabases
from crucible.telemetry.stores._records import StoppedError
from crucible.telemetry.stores.memory import NAMELESS, unopened, unrecorded
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint, RunInfo, points_of

PointRow: TypeAlias = tuple[int, int, int | None, float | bytes, int, str | None]
EventRow: TypeAlias = tuple[int, str, int, str]
Rec = TypeVar("Rec", MetricPoint, EventRecord)
Row = TypeVar("Row", PointRow, EventRow)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FLAT = frozenset({str, int, float, bool, type(None)})
"""What is JSON as it is, so that an event without nesting is written in a third of the time."""

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class SqliteMetricsStore(MetricsStore):
    """A `MetricsStore` in `<folder>/<run id>.sqlite`. Several processes may use one folder, and one run.

    With `read_only`, nothing is written and no writer is ever kept waiting: it is for whoever watches a run.
    """

    def __init__(self, folder: Path | str, *, read_only: bool = False) -> None:
        self._databases = RunDatabases(Path(folder), read_only=read_only)

    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, StoreError]:
        """Keep a batch in one transaction."""
        if not run_id:
            return Failure(NAMELESS)
        if not points:
            return Success(0)
        return self._databases.guarded(lambda: self._record(run_id, points), run_id)

    async def flush(self, run_id: str) -> Result[None, StoreError]:
        """Wait until the run's file is on the disk (fsync)."""
        return self._databases.guarded(lambda: self._databases.sync(run_id), run_id)

    async def read(
        self, run_id: str, *, name: str | None = None, since_step: int | None = None
    ) -> Result[tuple[MetricPoint, ...], StoreError]:
        """Give the points of a run, from its file."""
        return self._databases.guarded(lambda: self._read(run_id, name, since_step), run_id)

    async def list_metrics(self, run_id: str) -> Result[tuple[str, ...], StoreError]:
        """Give the names of a run's metrics, from its file."""
        return self._databases.guarded(lambda: tuple(sorted(self._series(run_id))), run_id)

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Delete the run's points; its events stay."""

        def deleted() -> None:
            if self._databases.reading(run_id) is not None:
                with self._databases.writing(run_id) as connection:
                    connection.execute("DELETE FROM points")
                    connection.execute("DELETE FROM series")

        return self._databases.guarded(deleted, run_id)

    def _record(self, run_id: str, points: Sequence[MetricPoint]) -> int:
        with self._databases.writing(run_id) as connection:
            series: dict[str, int] = dict(connection.execute("SELECT name, id FROM series"))
            for name in {point.name: None for point in points if point.name not in series}:
                series[name] = len(series)
                connection.execute("INSERT INTO series (id, name) VALUES (?, ?)", (series[name], name))
            before = connection.total_changes
            rows = _each(points, _point_rows(series))
            connection.executemany("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?)", rows)
            return connection.total_changes - before

    def _read(self, run_id: str, name: str | None, since_step: int | None) -> tuple[MetricPoint, ...]:
        names = {number: each for each, number in self._series(run_id).items()}
        query, values = "SELECT * FROM points WHERE TRUE", list[int]()
        if name is not None:
            query += " AND series = ?"
            values.append(next((number for number, each in names.items() if each == name), -1))
        if since_step is not None:
            query += " AND step >= ?"
            values.append(since_step)
        connection = self._databases.reading(run_id)
        assert connection is not None
        with _without_collection():
            rows = connection.execute(f"{query} ORDER BY sequence", values).fetchall()
            return tuple(_points(rows, names))

    def _series(self, run_id: str) -> dict[str, int]:
        connection = self._databases.reading(run_id)
        found = {} if connection is None else dict(connection.execute("SELECT name, id FROM series"))
        if not found:
            raise StoppedError(unrecorded(run_id))
        return found


class SqliteEventStore(EventStore):
    """An `EventStore` in `<folder>/<run id>.sqlite`. Several processes may use one folder, and one run.

    With `read_only`, nothing is written and no writer is ever kept waiting: it is for whoever watches a run.
    """

    def __init__(self, folder: Path | str, *, read_only: bool = False) -> None:
        self._databases = RunDatabases(Path(folder), read_only=read_only)

    async def open_run(self, run_id: str, *, metadata: Mapping[str, Json] | None = None) -> Result[RunInfo, StoreError]:
        """Note the run in its file, unless it is there."""
        if not run_id:
            return Failure(NAMELESS)
        return self._databases.guarded(lambda: self._opened(RunInfo(run_id=run_id, metadata=metadata or {})), run_id)

    async def insert(self, run_id: str, events: Sequence[EventRecord]) -> Result[int, StoreError]:
        """Keep a batch in one transaction."""
        return self._databases.guarded(lambda: self._insert(run_id, events), run_id)

    async def query(
        self, run_id: str, wanted: EventFilter = EventFilter()
    ) -> Result[tuple[EventRecord, ...], StoreError]:
        """Give the events that fit, from the run's file."""
        return self._databases.guarded(lambda: self._query(run_id, wanted), run_id)

    async def list_runs(self) -> Result[tuple[RunInfo, ...], StoreError]:
        """Give the runs that have a file and were opened."""
        runs: list[RunInfo] = []
        for run_id in sorted(self._databases.run_ids()):
            found = await self.find_run(run_id)
            if isinstance(found, Failure):
                return Failure(found.failure())
            runs += filter(None, [found.unwrap()])
        return Success(tuple(runs))

    async def find_run(self, run_id: str) -> Result[RunInfo | None, StoreError]:
        """Give one run, None where it was not opened; the files of others are not looked at."""
        return self._databases.guarded(lambda: self._find(run_id), run_id)

    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Delete the run's events; its metrics stay."""

        def deleted() -> None:
            if self._find(run_id) is not None:
                with self._databases.writing(run_id) as connection:
                    connection.execute("DELETE FROM run")
                    connection.execute("DELETE FROM events")

        return self._databases.guarded(deleted, run_id)

    def _opened(self, run: RunInfo) -> RunInfo:
        there = self._find(run.run_id)
        if there is None:
            with self._databases.writing(run.run_id) as connection:
                metadata = _text(run.metadata)
                connection.execute("INSERT INTO run SELECT ? WHERE NOT EXISTS (SELECT * FROM run)", (metadata,))
            there = self._find(run.run_id)
        return run if there is None else there

    def _find(self, run_id: str) -> RunInfo | None:
        connection = self._databases.reading(run_id)
        row = None if connection is None else connection.execute("SELECT metadata FROM run").fetchone()
        return None if row is None else RunInfo(run_id=run_id, metadata=_mapping(row[0]))

    def _insert(self, run_id: str, events: Sequence[EventRecord]) -> int:
        if self._find(run_id) is None:
            raise StoppedError(unopened(run_id))
        with self._databases.writing(run_id) as connection:
            before = connection.total_changes
            rows = _each(events, _event_row)
            connection.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", rows)
            return connection.total_changes - before

    def _query(self, run_id: str, wanted: EventFilter) -> tuple[EventRecord, ...]:
        connection = None if self._find(run_id) is None else self._databases.reading(run_id)
        if connection is None:
            raise StoppedError(unopened(run_id))
        query, values = "SELECT * FROM events WHERE TRUE", list[str | int]()
        for condition, value in (
            ("name = ?", wanted.name),
            ("time >= ?", None if wanted.since is None else _micros(wanted.since)),
            ("time <= ?", None if wanted.until is None else _micros(wanted.until)),
        ):
            if value is not None:
                query += f" AND {condition}"
                values.append(value)
        if wanted.last is not None and not wanted.attributes:  # attributes are looked at below, so all are needed
            query += " ORDER BY sequence DESC LIMIT ?"
            values.append(wanted.last)
        rows = connection.execute(query, values)
        return wanted.select(
            tuple(
                EventRecord(
                    sequence=sequence,
                    name=name,
                    timestamp=_EPOCH + _MICROSECOND * micros,
                    attributes=_mapping(attributes),
                )
                for sequence, name, micros, attributes in rows
            )
        )


def _each(records: Sequence[Rec], row: Callable[[Rec], Row]) -> Iterator[Row]:
    """Make rows of a batch.

    Raises: StoppedError, which names the record of which none can be made.
    """
    for index, record in enumerate(records):
        try:
            yield row(record)
        except (UnrecordableError, TypeError, ValueError) as error:
            raise StoppedError(InvalidRecord(message=str(error), fix=FIX_OF_PAYLOAD, index=index)) from error


def _event_row(event: EventRecord) -> EventRow:
    return event.sequence, event.name, _micros(event.timestamp), _text(event.attributes)


def _point_rows(series: Mapping[str, int]) -> Callable[[MetricPoint], PointRow]:
    """Give the function that makes rows of points. Points of one event have one time, which is read once."""
    last: datetime | None = None
    micros = 0

    def row(point: MetricPoint) -> PointRow:
        nonlocal last, micros
        value: float | bytes = point.value
        time = point.timestamp
        if time is not last:
            last, micros = time, _micros(time)
        if value != value:  # noqa: PLR0124  # NaN: SQLite would make it NULL
            value = struct.pack(">d", point.value)
        metadata = _text(point.metadata) if point.metadata else None
        return point.sequence, series[point.name], point.step, value, micros, metadata

    return row


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from going again and again through many new objects, none of which is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _points(rows: Sequence[PointRow], names: Mapping[int, str]) -> list[MetricPoint]:
    """Make points of rows, a column at a time."""
    if not rows:
        return []
    sequences, series, steps, kept, micros, metadata = zip(*rows, strict=True)
    values = [struct.unpack(">d", value)[0] if type(value) is bytes else value for value in kept]
    times = [_EPOCH + _MICROSECOND * each for each in micros]
    points = points_of([names[each] for each in series], values, steps, times, sequences)
    for place, text in enumerate(metadata):
        if text is not None:
            points[place] = attrs.evolve(points[place], metadata=_mapping(text))
    return points


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _text(value: Mapping[str, Json]) -> str:
    if _FLAT.issuperset(map(type, value.values())):
        with suppress(ValueError, TypeError):  # NaN, or an infinity; a key that is no text
            if "$" not in "".join(value):  # with which the codec marks what is no JSON
                return _ENCODER.encode(value)
    return _ENCODER.encode(encode(dict(value)))


def _mapping(text: str) -> dict[str, Json]:
    return cast("dict[str, Json]", decode(json.loads(text)))
