"""Training and sampling on a Tinker server, through the official SDK; needs the extra `tinkex`."""

from crucible.effects import Handlers
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.checkpoints import Checkpoints, StoredCheckpoint
from crucible.kitchen.handlers.tinkex.config import TinkerConfig
from crucible.kitchen.handlers.tinkex.knowing import expected
from crucible.kitchen.handlers.tinkex.sampling import TinkerSampling
from crucible.kitchen.handlers.tinkex.training import TinkerTraining
from crucible.train.ports import CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient

__all__ = [
    "Checkpoints",
    "StoredCheckpoint",
    "TinkerBackend",
    "TinkerConfig",
    "TinkerSampling",
    "TinkerTraining",
    "checkpoints",
    "expected",
    "remote",
]


def remote(
    config: TinkerConfig = TinkerConfig(),
) -> Handlers[TrainingClient | CustomLossClient | SamplingClient | TopLogprobsClient]:
    """Train, on custom losses too, and sample on a Tinker server; nothing is sent before the first operation.

    >>> remote(TinkerConfig(base_url="http://127.0.0.1:8000", api_key="tml-local"))
    <Handlers of CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient>
    """
    backend = TinkerBackend(config)
    training, sampling = TinkerTraining(backend), TinkerSampling(backend)
    return (
        TrainingClient.handled_by(training)
        | CustomLossClient.handled_by(training)
        | SamplingClient.handled_by(sampling)
        | TopLogprobsClient.handled_by(sampling)
    )


def checkpoints(config: TinkerConfig = TinkerConfig()) -> Checkpoints:
    """Look after what a Tinker server keeps: list, delete, publish, let expire, download."""
    return Checkpoints(TinkerBackend(config))
