"""Runs that are kept in files: finding them by what a person types, reading them, telling how they stand."""

from crucible.telemetry.loading._finding import RunNotFound, RunPlace, SeveralRuns, find_run, find_runs
from crucible.telemetry.loading._glancing import glance, telling_metric
from crucible.telemetry.loading._loading import LoadedRun, load_run, stores_of
from crucible.telemetry.loading._standing import QUIET_SECONDS, Standing, StandingReader, State, age, standing_of

__all__ = [
    "QUIET_SECONDS",
    "LoadedRun",
    "RunNotFound",
    "RunPlace",
    "SeveralRuns",
    "Standing",
    "StandingReader",
    "State",
    "age",
    "find_run",
    "find_runs",
    "glance",
    "load_run",
    "standing_of",
    "stores_of",
    "telling_metric",
]
