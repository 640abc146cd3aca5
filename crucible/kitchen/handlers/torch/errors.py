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
)

if TYPE_CHECKING:
    from crucible.engine import EngineError


def error_of(error: "EngineError", about: str) -> TrainError:
    """Give the port's error for what the engine raised while it worked on `about`, a model or a folder."""
    from crucible import engine

    match error:
        case engine.SequenceTooLongError():
            return SequenceTooLong(index=error.index, length=error.length, limit=error.limit)
        case engine.InvalidExampleError():
            return InvalidRequest(message=str(error), index=error.index)
        case engine.NonFiniteLossError():
            return NonFiniteLoss(loss=float("nan"), indices=error.examples)
        case engine.ModelNotFoundError():
            return NotFound(kind="model", name=about, fix=str(error))
        case engine.CheckpointNotFoundError():
            return NotFound(kind="checkpoint", name=about, fix=str(error))
        case engine.CheckpointMismatchError():
            return InvalidRequest(message=str(error))
        case engine.CheckpointError():
            return StorageFailed(path=about, message=str(error))
        case engine.BatchError() | engine.LossError() | engine.SamplingError() | engine.LoraTargetError():
            return InvalidRequest(message=str(error))
        case _:
            return BackendFailed(message=str(error))
