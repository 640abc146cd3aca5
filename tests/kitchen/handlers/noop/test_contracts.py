"""Every noop handler keeps the promises of its port."""

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop
from crucible.testing import (
    check_dataset_store,
    check_sampling_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig


def test_training_client() -> None:
    check_training_client(lambda: noop.training(max_length=512), model="noop", tolerance=1e-9)


def test_sampling_client() -> None:
    check_sampling_client(lambda: noop.sampling(max_length=512), model="noop", tolerance=1e-9)


def test_training_with_sampling() -> None:
    def make() -> Handlers[TrainingClient | SamplingClient]:
        shelf = noop.Shelf()
        return noop.training(shelf=shelf) | noop.sampling(shelf=shelf)

    check_training_with_sampling(make, model="noop", tolerance=1e-9)


def test_dataset_store() -> None:
    config = DatasetConfig(name="any")
    check_dataset_store(lambda: noop.datasets(names=["any"]), config=config, other_split="test", missing="other")
