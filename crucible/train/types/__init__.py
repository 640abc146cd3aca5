"""The values that the training ports take and give."""

from crucible.train.types.blobs import BlobInfo, is_blob_path
from crucible.train.types.datasets import Dataset, DatasetConfig, Row
from crucible.train.types.hub import FileSelection, HubCommit, HubInfo, HubRepo, HubUpload, RepoType
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
from crucible.train.types.llm import ChatOptions, ChatResponse, FinishReason, TokenUsage
from crucible.train.types.messages import ROLES, Message, Role, ToolCall, ToolSpec
from crucible.train.types.ordering import permutation
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
from crucible.train.types.vectors import Condition, Match, MetadataValue, Vector, VectorCollection, VectorRow

__all__ = [
    "ROLES",
    "AdamParams",
    "BlobInfo",
    "ByteTokenizer",
    "ChatOptions",
    "ChatResponse",
    "Checkpoint",
    "Chunk",
    "Condition",
    "DType",
    "Dataset",
    "DatasetConfig",
    "Datum",
    "EncodedTextChunk",
    "FileSelection",
    "FinishReason",
    "ForwardBackwardOutput",
    "Future",
    "HubCommit",
    "HubInfo",
    "HubRepo",
    "HubUpload",
    "ImageChunk",
    "LoraConfig",
    "LossFn",
    "Match",
    "Message",
    "MetadataValue",
    "ModelInput",
    "OptimStepOutput",
    "RepoType",
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
    "TokenUsage",
    "Tokenizer",
    "ToolCall",
    "ToolSpec",
    "TrainingSession",
    "Vector",
    "VectorCollection",
    "VectorRow",
    "is_blob_path",
    "permutation",
]
