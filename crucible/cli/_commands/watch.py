"""`crucible watch`: the dashboard of a run in the terminal."""

import functools
from pathlib import Path

import anyio

from crucible.cli._options import RUNS, Run, Runs
from crucible.cli._outcome import Outcome
from crucible.effects import Failure, Result, Success
from crucible.telemetry.experiments import is_experiment
from crucible.telemetry.loading import RunPlace, find_run, glance


def watch(
    run: Run, /, *, once: bool = False, interval: float = 1.0, patience: float | None = None, runs: Runs = RUNS
) -> Outcome:
    """Show a run as it goes on: its stage, progress, newest values, last sample. Ends when the run ends.

    The exit status is 1 for a run that failed, or that told nothing for as long as --patience says; with --once
    it says only whether there is such a run.

    Args:
        run: the run's id or the beginning of it, its folder, or its file
        once: show how it stands now, and end
        interval: seconds between two looks
        patience: end when the run has told nothing for so many seconds
        runs: where run ids are looked for
    """
    if interval <= 0:
        return Failure(f"--interval {interval:g}: give more than 0 seconds")
    place = _place_of(run, runs)
    if isinstance(place, Failure):
        return Failure(place.failure())
    from rich.console import Console

    from crucible.telemetry.watch import watch_run

    console = Console()
    watched = anyio.run(
        functools.partial(
            watch_run, place.unwrap(), console, once=once, interval_seconds=interval, patience_seconds=patience
        )
    )
    if isinstance(watched, Failure):
        return Failure(watched.failure())
    standing = watched.unwrap()
    if once or standing.state == "completed":
        return Success("")
    said = (
        f"failed in {standing.path}: {standing.error}"
        if standing.state == "failed"
        else f"has told nothing for {patience:g} s"
    )
    return Failure(f"{place.unwrap().run_id} {said}")


def _place_of(run: str, runs: Path) -> Result[RunPlace, object]:
    found = find_run(run, runs=runs)
    if isinstance(found, Failure):
        return Failure(found.failure())
    place = found.unwrap()
    seen = anyio.run(glance, place)
    if not isinstance(seen, Failure) and is_experiment(seen.unwrap().info):
        return Failure(f"{place.run_id} is an experiment: `crucible experiment show` names its runs, watch one")
    return Success(place)
