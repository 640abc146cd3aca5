"""`crucible runs`: a list of the runs that are kept in a folder."""

import functools
from datetime import UTC, datetime

import anyio
import attrs

from crucible.cli._options import RUNS, Runs
from crucible.cli._outcome import Outcome
from crucible.cli._tables import table
from crucible.effects import Failure, Success
from crucible.telemetry.experiments import is_experiment
from crucible.telemetry.loading import (
    QUIET_SECONDS,
    LoadedRun,
    RunPlace,
    age,
    find_runs,
    glance,
    standing_of,
    telling_metric,
)
from crucible.telemetry.series import series_of

_COLUMNS = ("run", "recipe", "state", "steps", "newest", "started")


@attrs.frozen(kw_only=True)
class _Row:
    started: str
    cells: tuple[str, ...]
    problem: str = ""


def runs(*, runs: Runs = RUNS) -> Outcome:
    """List the runs: recipe, how they stand, steps, newest loss or reward, start.

    Args:
        runs: the folder they are in
    """
    if not runs.is_dir():
        return Failure(f"{runs}: no such folder (say where runs are with --runs FOLDER)")
    places = find_runs(runs)
    if not places:
        return Failure(f"{runs} has no runs")
    rows = sorted((row for row in map(_row, places) if row is not None), key=lambda row: row.started)
    problems = [row.problem for row in rows if row.problem]
    return Success("\n".join([table(_COLUMNS, [row.cells for row in rows]), *([""] if problems else []), *problems]))


def _row(place: RunPlace) -> _Row | None:
    """Give a run's row; none for an experiment, which `crucible experiment list` shows."""
    found = anyio.run(functools.partial(glance, place))
    if isinstance(found, Failure):
        cells = (place.run_id, "", "unreadable", "", "", "")
        return _Row(started="", cells=cells, problem=f"unreadable: {found.failure()}")
    run = found.unwrap()
    return None if is_experiment(run.info) else _row_of(run)


def _row_of(run: LoadedRun) -> _Row:
    standing, series = standing_of(run.events), series_of(run.points)
    shown = series[telling_metric(tuple(series))] if series else None
    started = "" if standing.started is None else f"{standing.started:%Y-%m-%d %H:%M:%S}"
    cells = (
        run.run_id,
        str(run.info.metadata.get("recipe") or ""),
        standing.state if standing.state != "open" else _openness(run, standing.last_told),
        "0" if shown is None else str(shown.steps[-1]),
        "" if shown is None else f"{shown.name} {shown.values[-1]:.4g}",
        started,
    )
    return _Row(started=started, cells=cells)


def _openness(run: LoadedRun, last_told: datetime | None) -> str:
    """Say of a run that has not ended whether it was heard of lately: a step may be long, or its process gone."""
    times = [*(point.timestamp for point in run.points[-1:]), *([] if last_told is None else [last_told])]
    quiet = (datetime.now(UTC) - max(times)).total_seconds() if times else 0.0
    return "running" if quiet < QUIET_SECONDS else f"silent for {age(quiet)}"
