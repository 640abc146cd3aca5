"""`crucible export`: the points or events of a run as a file that others read."""

import anyio

from crucible.cli._options import RUNS, Run, Runs, Target
from crucible.cli._outcome import Outcome
from crucible.effects import Failure, Success
from crucible.telemetry.experiments import is_experiment
from crucible.telemetry.export import event_rows, export_rows, point_rows
from crucible.telemetry.loading import load_run


def export(run: Run, /, *, to: Target, events: bool = False, runs: Runs = RUNS) -> Outcome:
    """Write a run's metric points, or its events, to a file.

    Args:
        run: the run's id or the beginning of it, its folder, or its file
        to: the file to write; its ending chooses the format: .csv, .jsonl, .parquet or .md
        events: write the events, not the metric points
        runs: where run ids are looked for
    """
    found = anyio.run(lambda: load_run(run, runs=runs))
    if isinstance(found, Failure):
        return Failure(found.failure())
    loaded = found.unwrap()
    if not events and is_experiment(loaded.info):
        return Failure(f"{loaded.run_id} is an experiment, and has no points: name one of its runs, or give --events")
    rows = event_rows(loaded.run_id, loaded.events) if events else point_rows(loaded.run_id, loaded.points)
    try:
        export_rows(rows, to)
    except (ValueError, ImportError) as error:
        return Failure(error)
    except OSError as error:
        return Failure(f"{to}: {error.strerror or error}")
    return Success(f"{len(rows)} {'events' if events else 'points'}: {to}")
