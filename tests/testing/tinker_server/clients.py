"""The real SDK on a server of ours, and data for it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import tinker
from tinker import types as wire

from crucible.effects import Handlers
from crucible.kitchen.handlers import noop
from crucible.testing import tinker_server
from crucible.testing.tinker_server import Fault, Server
from crucible.train.ports import SamplingClient, TrainingClient

T = TypeVar("T")
SECONDS = 60.0


@contextmanager
def served(
    *faults: Fault, handlers: Handlers[TrainingClient | SamplingClient] | None = None, seed: int = 0
) -> Iterator[tuple[Server, tinker.ServiceClient]]:
    """Serve handlers (noop ones, if none are given) and connect the SDK's client."""
    with tinker_server.serve(handlers or noop.all(), faults=faults, seed=seed) as server:
        client = tinker.ServiceClient(base_url=server.url, api_key=server.api_key)
        try:
            yield server, client
        finally:
            client.close("success").result(timeout=SECONDS)


def done(future: tinker.APIFuture[T]) -> T:
    """Wait for the SDK's future."""
    return future.result(timeout=SECONDS)


def model(client: tinker.ServiceClient, name: str = "any") -> tinker.TrainingClient:
    """Make a model in training."""
    return client.create_lora_training_client(base_model=name, rank=4, seed=1).result(timeout=SECONDS)


def rest(server: Server) -> tinker.RestClient:
    """Give the SDK's client of the REST endpoints."""
    return tinker.RestClient(base_url=server.url, api_key=server.api_key)


def datum(tokens: Sequence[int], **inputs: Sequence[float]) -> wire.Datum:
    """Make a datum that predicts each token from those before; the other inputs have a number for each."""
    arrays = {name: wire.TensorData.from_numpy(np.asarray(row, dtype=np.float32)) for name, row in inputs.items()}
    targets = wire.TensorData.from_numpy(np.asarray(tokens[1:], dtype=np.int64))
    return wire.Datum(
        model_input=wire.ModelInput.from_ints(list(tokens[:-1])), loss_fn_inputs={"target_tokens": targets, **arrays}
    )


DATA = [datum([5, 6, 7, 8, 9], weights=[0, 1, 1, 1]), datum([10, 11, 12], weights=[1, 2])]
ADAM = wire.AdamParams(learning_rate=1e-3)
GREEDY = wire.SamplingParams(max_tokens=4, temperature=0.0, seed=1)


def prompt(*tokens: int) -> wire.ModelInput:
    """Make a prompt."""
    return wire.ModelInput.from_ints(list(tokens))
