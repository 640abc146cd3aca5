"""The local training and sampling engine on torch. It imports nothing else of crucible.

>>> from crucible.engine import Adam, Example, LoraSpec, Trainer, load_model  # doctest: +SKIP
>>> loaded = load_model("HuggingFaceTB/SmolLM2-135M-Instruct")  # doctest: +SKIP
>>> trainer = Trainer(loaded, LoraSpec(rank=16))  # doctest: +SKIP
>>> trainer.forward_backward(examples, "cross_entropy").loss  # doctest: +SKIP
>>> trainer.optim_step(Adam(learning_rate=1e-4)).grad_norm  # doctest: +SKIP
"""

from crucible.engine.checkpoint import read_adapter
from crucible.engine.custom_loss import CustomLoss
from crucible.engine.durable import remove_directory
from crucible.engine.errors import (
    BatchError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    EmptyBatchError,
    EngineError,
    InvalidExampleError,
    LoraTargetError,
    LossConfigError,
    LossError,
    ModelLoadError,
    ModelNotFoundError,
    NoGradientError,
    NonFiniteGradientError,
    NonFiniteLogitsError,
    NonFiniteLossError,
    SamplingError,
    SequenceTooLongError,
    StepError,
    UnknownLossError,
    UnsupportedModelError,
)
from crucible.engine.loading import LoadedModel, load_model, wrap_model
from crucible.engine.lora import AdapterWeights
from crucible.engine.losses import LOSSES, Loss
from crucible.engine.sampler import Sampler
from crucible.engine.trainer import Trainer
from crucible.engine.values import (
    ALL_ATTENTION,
    ALL_LINEAR,
    ALL_MLP,
    OUTPUT_HEAD,
    Adam,
    Example,
    LoraSpec,
    LossOutput,
    Sampled,
    Sampling,
    StepOutput,
)

__all__ = [
    "ALL_ATTENTION",
    "ALL_LINEAR",
    "ALL_MLP",
    "LOSSES",
    "OUTPUT_HEAD",
    "Adam",
    "AdapterWeights",
    "BatchError",
    "CheckpointError",
    "CheckpointMismatchError",
    "CheckpointNotFoundError",
    "CustomLoss",
    "EmptyBatchError",
    "EngineError",
    "Example",
    "InvalidExampleError",
    "LoadedModel",
    "LoraSpec",
    "LoraTargetError",
    "Loss",
    "LossConfigError",
    "LossError",
    "LossOutput",
    "ModelLoadError",
    "ModelNotFoundError",
    "NoGradientError",
    "NonFiniteGradientError",
    "NonFiniteLogitsError",
    "NonFiniteLossError",
    "Sampled",
    "Sampler",
    "Sampling",
    "SamplingError",
    "SequenceTooLongError",
    "StepError",
    "StepOutput",
    "Trainer",
    "UnknownLossError",
    "UnsupportedModelError",
    "load_model",
    "read_adapter",
    "remove_directory",
    "wrap_model",
]
