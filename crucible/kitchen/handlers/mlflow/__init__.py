"""A sink that logs to MLflow: a folder of this machine, or any tracking server; needs the extra `mlflow`."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from crucible.kitchen.handlers.mlflow._sink import INFINITE, MlflowSink
from crucible.telemetry.sinks import Sink
from crucible.train.errors import MissingExtra

__all__ = ["INFINITE", "MlflowSink", "sink"]


def sink(place: Path | str, *, experiment: str = "crucible", tags: Mapping[str, str] | None = None) -> Sink:
    """Log runs to an experiment of MLflow: look at them with `mlflow ui --backend-store-uri sqlite:///<place>/mlflow.db`.

    A run is found again by its id when it goes on; MLflow keeps the steps done twice, by time. The configuration becomes
    parameters, and whole in the artifact `metadata.json`; samples are artifacts. A point without a step stands at step 0 with
    its time. MLflow's databases make a very large number of an infinity: infinite values are left out of their series, and named
    with their steps in the tag `crucible.infinite.<metric>`. NaN is kept, -0.0 becomes 0.0. What a metric's name may not have
    in MLflow becomes `_`.

    Args:
        place: a folder, for a SQLite database and artifacts in it, or a tracking URI (`http://...`).
        experiment: made where it does not exist.
        tags: of the runs.

    Raises: ModuleNotFoundError when the extra `mlflow` is not installed.
    """
    is_folder = "://" not in str(place)
    needed = ("mlflow", "sqlalchemy", "alembic") if is_folder else ("mlflow",)
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(str(MissingExtra(extra="mlflow", package=package)))
    return MlflowSink(Path(place) if is_folder else str(place), experiment, dict(tags or {}))
