"""The torch handlers keep the promises of their ports, on a model of two layers and on a real one."""

import pytest
import torch

from crucible.effects import Handlers
from crucible.engine.precision import bfloat16_is_native
from crucible.kitchen.handlers.torch import TorchBackend, TorchSampling, TorchTraining
from crucible.testing import (
    check_custom_loss_client,
    check_sampling_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.train.ports import CustomLossClient, SamplingClient, TrainingClient

SAMPLING = 1e-3  # float32 sums taken in another order
# Where the machine has bfloat16 instructions, training uses them (8 bits of mantissa), and sampling does not.
NATIVE = bfloat16_is_native(torch.device("cpu"))
TRAINING = 2e-2 if NATIVE else SAMPLING
BETWEEN_THEM = 0.1 if NATIVE else SAMPLING  # of one token: 0.043 nats were seen


@pytest.fixture
def handlers(shared_backend: TorchBackend) -> Handlers[TrainingClient | SamplingClient]:
    training, sampling = TorchTraining(shared_backend), TorchSampling(shared_backend)
    return TrainingClient.handled_by(training) | SamplingClient.handled_by(sampling)


def test_training_client(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_training_client(lambda: handlers, model=model, tolerance=TRAINING)


def test_custom_loss_client(shared_backend: TorchBackend, model: str) -> None:
    training = TorchTraining(shared_backend)
    handlers = TrainingClient.handled_by(training) | CustomLossClient.handled_by(training)
    check_custom_loss_client(lambda: handlers, model=model, tolerance=TRAINING)


def test_sampling_client(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_sampling_client(lambda: handlers, model=model, tolerance=SAMPLING)


def test_training_with_sampling(handlers: Handlers[TrainingClient | SamplingClient], model: str) -> None:
    check_training_with_sampling(lambda: handlers, model=model, tolerance=BETWEEN_THEM)
