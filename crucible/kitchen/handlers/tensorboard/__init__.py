"""A sink that writes event files for TensorBoard; needs the extra `tensorboard`."""

import importlib.util
from pathlib import Path

from crucible.kitchen.handlers.tensorboard._sink import TensorBoardSink
from crucible.telemetry.sinks import Sink
from crucible.train.errors import MissingExtra

__all__ = ["TensorBoardSink", "sink"]


def sink(folder: Path | str) -> Sink:
    """Write event files below `folder`, one subfolder for each run: look at them with `tensorboard --logdir <folder>`.

    TensorBoard keeps 32-bit floats: a number is rounded to one, and one beyond 3.4e38 becomes infinite. A point without a step
    stands at step 0 with its time. Samples are texts; the run's metadata is a text and hyperparameters. When a run goes on from
    a checkpoint, what it did after that checkpoint before is hidden by what it does now; the files keep both.

    Raises: ModuleNotFoundError when the extra `tensorboard` is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise ModuleNotFoundError(str(MissingExtra(extra="tensorboard", package="tensorboardX")))
    return TensorBoardSink(Path(folder))
