"""Reading a run through the telemetry ports: what is known of it, its events, its points."""

from pathlib import Path
from typing import TypeAlias

import attrs

from crucible.effects import Failure, Result, Success
from crucible.telemetry.errors import StoreError, UnknownRun
from crucible.telemetry.loading._finding import RunNotFound, RunPlace, SeveralRuns, find_run
from crucible.telemetry.ports import MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo

NotLoaded: TypeAlias = RunNotFound | SeveralRuns | StoreError


@attrs.frozen(kw_only=True)
class LoadedRun:
    """A run as it was told so far."""

    info: RunInfo
    events: tuple[EventRecord, ...]
    points: tuple[MetricPoint, ...]

    @property
    def run_id(self) -> str:
        """Of the run."""
        return self.info.run_id


def stores_of(place: RunPlace) -> tuple[SqliteEventStore | JsonlEventStore, MetricsStore]:
    """Open nothing; give the stores that read a run. They take no lock that a run which goes on would wait for."""
    if place.format == "sqlite":
        return SqliteEventStore(place.folder, read_only=True), SqliteMetricsStore(place.folder, read_only=True)
    return JsonlEventStore(place.folder), JsonlMetricsStore(place.folder)


async def load_run(where: str | RunPlace, *, runs: Path | str = "runs") -> Result[LoadedRun, NotLoaded]:
    """Read a run: all that it has told until now.

    Args:
        where: its place, or what `find_run` takes: an id, a folder, a file.
        runs: where ids are looked for.
    """
    if isinstance(where, str):
        found = find_run(where, runs=runs)
        if isinstance(found, Failure):
            return Failure(found.failure())
        where = found.unwrap()
    event_store, metrics_store = stores_of(where)
    about, told = await event_store.find_run(where.run_id), await event_store.query(where.run_id)
    measured = await metrics_store.read(where.run_id)
    for result in (about, told, measured):
        if isinstance(result, Failure) and not isinstance(result.failure(), UnknownRun):
            return Failure(result.failure())
    return Success(
        LoadedRun(
            info=about.unwrap() or RunInfo(run_id=where.run_id),
            events=told.value_or(()),
            points=measured.value_or(()),
        )
    )
