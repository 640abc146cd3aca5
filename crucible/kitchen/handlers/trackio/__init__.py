"""A sink that logs to Trackio's database on this machine; needs the extra `trackio`."""

import importlib.util
from pathlib import Path

from crucible.kitchen.handlers.trackio._sink import TrackioSink
from crucible.telemetry.sinks import Sink
from crucible.train.errors import MissingExtra

__all__ = ["TrackioSink", "sink"]


def sink(project: str, *, folder: Path | str | None = None) -> Sink:
    """Log runs to a project of Trackio: look at them with `trackio show --project <project>`.

    Records are written straight into Trackio's database, in one transaction each time, instead of through its thread, which
    loses what it has not sent when the process is killed. A point without a step stands at step 0 with its time; NaN and the
    infinities are kept; a name that Trackio reserves (`step`, `time`) gets `__` before it. Samples are traces.

    Args:
        project: of Trackio.
        folder: where its databases are, one folder for the whole process: `TRACKIO_DIR`, or Trackio's own, when None. Set
            `TRACKIO_DIR` to it for `trackio show`.

    Raises: ModuleNotFoundError when the extra `trackio` is not installed; ValueError where Trackio already uses another folder.
    """
    if importlib.util.find_spec("trackio") is None:
        raise ModuleNotFoundError(str(MissingExtra(extra="trackio", package="trackio")))
    return TrackioSink(project, None if folder is None else Path(folder))
