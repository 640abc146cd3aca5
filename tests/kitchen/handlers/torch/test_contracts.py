"""The torch handlers keep the promises of their ports, on a model of two layers and on a real one."""

import pytest

from crucible.effects import Handlers
from crucible.kitchen.handlers.torch import TorchBackend, TorchSampling, TorchTraining
from crucible.testing import (
    check_capabilities,
    check_custom_loss_client,
    check_sampling_client,
    check_top_logprobs_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.train.ports import CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient

TOLERANCE = 1e-3  # float32 sums taken in another order


@pytest.fixture
def handlers(shared_backend: TorchBackend) -> Handlers[TrainingClient | SamplingClient]:
    training, sampling = TorchTraining(shared_backend), TorchSampling(shared_backend)
    return TrainingClient.handled_by(training) | SamplingClient.handled_by(sampling)


def test_training_client(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_training_client(lambda: handlers, model=model, tolerance=TOLERANCE)


def test_capabilities(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_capabilities(lambda: handlers, model=model, tolerance=TOLERANCE)


def test_custom_loss_client(shared_backend: TorchBackend, model: str) -> None:
    training = TorchTraining(shared_backend)
    handlers = TrainingClient.handled_by(training) | CustomLossClient.handled_by(training)
    check_custom_loss_client(lambda: handlers, model=model, tolerance=TOLERANCE)


def test_sampling_client(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_sampling_client(lambda: handlers, model=model, tolerance=TOLERANCE)


def test_top_logprobs_client(shared_backend: TorchBackend, model: str) -> None:
    sampling = TorchSampling(shared_backend)
    handlers = SamplingClient.handled_by(sampling) | TopLogprobsClient.handled_by(sampling)
    check_top_logprobs_client(lambda: handlers, model=model, tolerance=TOLERANCE)


def test_training_with_sampling(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_training_with_sampling(lambda: handlers, model=model, tolerance=TOLERANCE)
