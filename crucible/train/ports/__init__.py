"""The training ports: each is defined here and nowhere else."""

from crucible.train.ports.blobs import BlobStore
from crucible.train.ports.code import CodeClient
from crucible.train.ports.custom_loss import CustomLossClient
from crucible.train.ports.datasets import DatasetStore
from crucible.train.ports.embeddings import EmbeddingClient
from crucible.train.ports.hub import HubClient
from crucible.train.ports.llm import LLMClient
from crucible.train.ports.sampling import SamplingClient
from crucible.train.ports.top_logprobs import TopLogprobsClient
from crucible.train.ports.training import TrainingClient
from crucible.train.ports.vectors import VectorStore

__all__ = [
    "BlobStore",
    "CodeClient",
    "CustomLossClient",
    "DatasetStore",
    "EmbeddingClient",
    "HubClient",
    "LLMClient",
    "SamplingClient",
    "TopLogprobsClient",
    "TrainingClient",
    "VectorStore",
]
