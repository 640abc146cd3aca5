"""Embeddings of text by a model on this machine, with the library sentence-transformers; needs the extra `embeddings`."""

from pathlib import Path

import attrs

from crucible.effects import Handlers
from crucible.fields import AT_LEAST_1, checked
from crucible.kitchen.handlers.sentence_transformers._embeddings import LocalEmbeddings
from crucible.train.ports import EmbeddingClient

__all__ = ["EmbeddingConfig", "LocalEmbeddings", "embeddings"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class EmbeddingConfig:
    """How a model is run.

    Args:
        device: "cpu", "cuda" or another of torch; None takes the best there is.
        texts_at_once: how many texts one pass takes.
    """

    device: str | None = None
    texts_at_once: int = attrs.field(default=32, metadata=AT_LEAST_1)


def embeddings(model: Path | str, config: EmbeddingConfig = EmbeddingConfig()) -> Handlers[EmbeddingClient]:
    """Handle embeddings with the model in a folder, as sentence-transformers saves one; the first call loads it.

    Nothing is fetched: a folder that is not there is a NotFound. Weights are read from safetensors only, and no code
    of the model's is run. Text beyond what the model takes is cut off, as the library does.
    """
    return EmbeddingClient.handled_by(
        LocalEmbeddings(Path(model), device=config.device, texts_at_once=config.texts_at_once)
    )
