"""Torch here and torch behind a Tinker server, side by side: they agree on every answer of a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible.effects import Handlers, lockstep
from crucible.kitchen import run
from crucible.kitchen.handlers import tinkex, torch
from crucible.testing.tinker_server import serve
from crucible.train.ports import SamplingClient, TrainingClient
from tests.kitchen.handlers.torch.tiny import config_for, on_this_machine, recipe, save_tiny

TOLERANCE = 1e-3  # float32 sums taken in another order


@contextmanager
def side_by_side(root: Path, model: str) -> Iterator[Handlers[TrainingClient | SamplingClient]]:
    """Give both backends; each saves below a folder of its own."""
    with serve(torch.local(root / "served", num_threads=1), models=[model]) as server:
        remote = tinkex.remote(tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key))
        yield lockstep(torch.local(root / "here", num_threads=1), remote, tolerance=TOLERANCE)


@pytest.mark.slow
def test_a_training_is_the_same_on_torch_and_on_a_tinker_server(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    config = config_for(model)
    with side_by_side(tmp_path, model) as both:
        result = run(recipe(config), on_this_machine(tmp_path, both)).unwrap()
    losses = [point.value for point in result.metrics if point.name == "loss"]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
