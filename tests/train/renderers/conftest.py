"""The tokenizers that the renderer is compared on: a tiny one, and the real one of SmolLM2."""

from pathlib import Path
from typing import Any

import pytest

from crucible.cookbook.models import smollm2
from tests.train.renderers.chatml import trained


@pytest.fixture(scope="session")
def smollm_tokenizer() -> Any:
    """Read the tokenizer of SmolLM2 from its GGUF; takes a dozen seconds."""
    from transformers import AutoTokenizer

    path = Path(smollm2())
    return AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


@pytest.fixture(scope="session", params=["tiny", pytest.param("smollm2", marks=pytest.mark.slow)])
def reference(request: pytest.FixtureRequest) -> Any:
    """Give a tokenizer of transformers, which cannot be wrong about itself."""
    return trained() if request.param == "tiny" else request.getfixturevalue("smollm_tokenizer")
