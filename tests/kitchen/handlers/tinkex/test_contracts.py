"""The Tinker handlers keep the promises of their ports, through the official SDK over HTTP, on a server that runs on noop."""

from collections.abc import Iterator
from typing import TypeAlias

import pytest

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop, tinkex
from crucible.testing import (
    check_capabilities,
    check_custom_loss_client,
    check_sampling_client,
    check_top_logprobs_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.testing.tinker_server import serve
from crucible.train.ports import CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.types import ByteTokenizer

MODEL = "any"
Remote: TypeAlias = TrainingClient | CustomLossClient | SamplingClient | TopLogprobsClient


@pytest.fixture(scope="module")
def handlers() -> Iterator[Handlers[Remote]]:
    with serve(noop.all(), models=[MODEL]) as server:
        yield tinkex.remote(tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer()))


def test_training_client(handlers: Handlers[Remote]) -> None:
    check_training_client(lambda: handlers, model=MODEL)


def test_capabilities(handlers: Handlers[Remote]) -> None:
    check_capabilities(lambda: handlers, model=MODEL)


def test_custom_loss_client(handlers: Handlers[Remote]) -> None:
    check_custom_loss_client(lambda: handlers, model=MODEL)


def test_sampling_client(handlers: Handlers[Remote]) -> None:
    check_sampling_client(lambda: handlers, model=MODEL)


def test_top_logprobs_client(handlers: Handlers[Remote]) -> None:
    check_top_logprobs_client(lambda: handlers, model=MODEL)


def test_training_with_sampling(handlers: Handlers[Remote]) -> None:
    check_training_with_sampling(lambda: handlers, model=MODEL)
