"""The values that the training ports take and give."""

from crucible.train.types.datasets import Dataset, DatasetConfig, Row
from crucible.train.types.inputs import (
    Chunk,
    Datum,
    DType,
    EncodedTextChunk,
    ImageChunk,
    ModelInput,
    TensorData,
    TokenId,
)
from crucible.train.types.messages import ROLES, Message, Role, ToolCall, ToolSpec
from crucible.train.types.sampling import Sample, SamplingConfig, SamplingParams, SamplingSession, StopReason
from crucible.train.types.tokenizer import ByteTokenizer, Tokenizer
from crucible.train.types.training import (
    AdamParams,
    Checkpoint,
    ForwardBackwardOutput,
    Future,
    LoraConfig,
    LossFn,
    OptimStepOutput,
    SamplerWeights,
    SessionConfig,
    TrainingSession,
)

__all__ = [
    "ROLES",
    "AdamParams",
    "ByteTokenizer",
    "Checkpoint",
    "Chunk",
    "DType",
    "Dataset",
    "DatasetConfig",
    "Datum",
    "EncodedTextChunk",
    "ForwardBackwardOutput",
    "Future",
    "ImageChunk",
    "LoraConfig",
    "LossFn",
    "Message",
    "ModelInput",
    "OptimStepOutput",
    "Role",
    "Row",
    "Sample",
    "SamplerWeights",
    "SamplingConfig",
    "SamplingParams",
    "SamplingSession",
    "SessionConfig",
    "StopReason",
    "TensorData",
    "TokenId",
    "Tokenizer",
    "ToolCall",
    "ToolSpec",
    "TrainingSession",
]
