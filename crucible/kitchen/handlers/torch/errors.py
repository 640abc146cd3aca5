"""What the engine raises, as the ports' errors."""

from typing import TYPE_CHECKING

from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    NonFiniteLoss,
    NotFound,
    SequenceTooLong,
    StorageFailed,
    TrainError,
    Unsupported,
)

if TYPE_CHECKING:
    from crucible.engine import EngineError


def error_of(error: "EngineError", about: str) -> TrainError:
    """Give the port's error for what the engine raised while it worked on `about`, a model or a folder."""
    from crucible import engine

    found: TrainError
    match error:
        case engine.SequenceTooLongError():
            found = SequenceTooLong(index=error.index, length=error.length, limit=error.limit)
        case engine.InvalidExampleError():
            found = InvalidRequest(message=str(error), index=error.index)
        case engine.NonFiniteLossError():
            found = NonFiniteLoss(loss=float("nan"), indices=error.examples)
        case engine.ModelNotFoundError():
            found = NotFound(kind="model", name=about, fix=str(error))
        case engine.CheckpointNotFoundError():
            found = NotFound(kind="checkpoint", name=about, fix=str(error))
        case engine.CheckpointMismatchError():
            found = InvalidRequest(message=str(error))
        case engine.CheckpointError():
            found = StorageFailed(path=about, message=str(error))
        case engine.BatchError() | engine.LossError() | engine.SamplingError() | engine.LoraTargetError():
            found = InvalidRequest(message=str(error))
        case engine.UnsupportedModelError():
            found = Unsupported(feature=f"this model: {error}", backend="the torch handler")
        case engine.NoGradientError():
            found = InvalidRequest(message=str(error))
        case _:
            found = BackendFailed(message=str(error))
    return found
