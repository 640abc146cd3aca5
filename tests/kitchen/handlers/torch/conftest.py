"""The models of these tests: a tiny random one in a folder, and the real SmolLM2. Both are loaded once."""

from pathlib import Path
from typing import Any

import pytest

from crucible.cookbook.models import smollm2
from crucible.kitchen.handlers.torch import TorchBackend
from tests.kitchen.handlers.torch.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the tiny model with its tokenizer; give the folder."""
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save another tiny model: the same shape, other weights."""
    return save_tiny(tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(scope="session")
def shared_backend(tmp_path_factory: pytest.TempPathFactory) -> TorchBackend:
    """Give a backend that keeps what it loaded: the real model takes half a minute."""
    return TorchBackend(tmp_path_factory.mktemp("saved"), num_threads=1)


@pytest.fixture(scope="session", params=["tiny", pytest.param("smollm2", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> Any:
    """Give the name of a model: tiny, and the real one."""
    return request.getfixturevalue("tiny_folder") if request.param == "tiny" else smollm2()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder for what a test saves."""
    return tmp_path / "runs"
