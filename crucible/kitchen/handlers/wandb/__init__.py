"""A sink that logs to Weights & Biases, offline unless asked otherwise; needs the extra `wandb`."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from crucible.kitchen.handlers.wandb._sink import STEP, WandbSink
from crucible.telemetry.sinks import Sink
from crucible.train.errors import MissingExtra

__all__ = ["STEP", "WandbSink", "sink"]


def sink(
    project: str,
    *,
    folder: Path | str = "runs",
    mode: Literal["offline", "online"] = "offline",
    tags: Sequence[str] = (),
) -> Sink:
    """Log runs to a project; offline they are files in `<folder>/wandb`, which `wandb sync` uploads later.

    Charts are over `crucible/step`, so what a resumed run does again is kept beside what it did before. Offline, nothing leaves
    this machine and nothing is written outside of `folder`; online, W&B's own settings and login hold, and a run goes on under
    its id. NaN and the infinities are kept; -0.0 becomes 0. Nothing of the console, the code or the machine is collected.

    Args:
        project: of W&B.
        folder: where W&B keeps its files.
        mode: `online` uploads as the run goes on.
        tags: of the runs.

    Raises: ModuleNotFoundError when the extra `wandb` is not installed.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ModuleNotFoundError(str(MissingExtra(extra="wandb", package="wandb")))
    return WandbSink(project, Path(folder), mode, tuple(tags))
