"""The training ports: each is defined here and nowhere else."""

from crucible.train.ports.datasets import DatasetStore
from crucible.train.ports.sampling import SamplingClient
from crucible.train.ports.training import TrainingClient

__all__ = ["DatasetStore", "SamplingClient", "TrainingClient"]
