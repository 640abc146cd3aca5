"""Runs that are kept in files: finding them by what a person types, reading them, telling how they stand."""

from crucible.telemetry.loading._finding import RunNotFound, RunPlace, SeveralRuns, find_run, find_runs
from crucible.telemetry.loading._loading import LoadedRun, load_run, stores_of
from crucible.telemetry.loading._standing import Standing, State, standing_of

__all__ = [
    "LoadedRun",
    "RunNotFound",
    "RunPlace",
    "SeveralRuns",
    "Standing",
    "State",
    "find_run",
    "find_runs",
    "load_run",
    "standing_of",
    "stores_of",
]
