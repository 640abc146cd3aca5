"""`crucible runs`: a list of the runs that are kept in a folder."""

import functools

import anyio
import attrs

from crucible.cli._options import RUNS, Runs
from crucible.cli._outcome import Outcome
from crucible.cli._tables import table
from crucible.effects import Failure, Success
from crucible.telemetry.experiments import is_experiment
from crucible.telemetry.loading import LoadedRun, RunPlace, find_runs, glance, standing_of, telling_metric
from crucible.telemetry.series import series_of

_COLUMNS = ("run", "recipe", "state", "steps", "newest", "started")
_STATES = {"open": "never ended"}


@attrs.frozen(kw_only=True)
class _Row:
    started: str
    cells: tuple[str, ...]


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
    return Success(table(_COLUMNS, [row.cells for row in rows]))


def _row(place: RunPlace) -> _Row | None:
    """Give a run's row; none for an experiment, which `crucible experiment list` shows."""
    found = anyio.run(functools.partial(glance, place))
    if isinstance(found, Failure):
        return _Row(started="", cells=(place.run_id, "", f"unreadable: {found.failure()}", "", "", ""))
    run = found.unwrap()
    return None if is_experiment(run.info) else _row_of(run)


def _row_of(run: LoadedRun) -> _Row:
    standing, series = standing_of(run.events), series_of(run.points)
    shown = series[telling_metric(tuple(series))] if series else None
    started = "" if standing.started is None else f"{standing.started:%Y-%m-%d %H:%M:%S}"
    cells = (
        run.run_id,
        str(run.info.metadata.get("recipe") or ""),
        _STATES.get(standing.state, standing.state),
        "0" if shown is None else str(shown.steps[-1]),
        "" if shown is None else f"{shown.name} {shown.values[-1]:.4g}",
        started,
    )
    return _Row(started=started, cells=cells)
