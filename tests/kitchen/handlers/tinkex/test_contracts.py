"""The Tinker handlers keep the promises of their ports, through the official SDK over HTTP, on a server that runs on noop."""

from collections.abc import Iterator

import pytest

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop, tinkex
from crucible.testing import (
    check_custom_loss_client,
    check_sampling_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.testing.tinker_server import serve
from crucible.train.ports import CustomLossClient, SamplingClient, TrainingClient
from crucible.train.types import ByteTokenizer

MODEL = "any"


@pytest.fixture(scope="module")
def handlers() -> Iterator[Handlers[TrainingClient | CustomLossClient | SamplingClient]]:
    with serve(noop.all(), models=[MODEL]) as server:
        yield tinkex.remote(tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer()))


def test_training_client(handlers: Handlers[TrainingClient | CustomLossClient | SamplingClient]) -> None:
    check_training_client(lambda: handlers, model=MODEL)


def test_custom_loss_client(handlers: Handlers[TrainingClient | CustomLossClient | SamplingClient]) -> None:
    check_custom_loss_client(lambda: handlers, model=MODEL)


def test_sampling_client(handlers: Handlers[TrainingClient | CustomLossClient | SamplingClient]) -> None:
    check_sampling_client(lambda: handlers, model=MODEL)


def test_training_with_sampling(handlers: Handlers[TrainingClient | CustomLossClient | SamplingClient]) -> None:
    check_training_with_sampling(lambda: handlers, model=MODEL)
