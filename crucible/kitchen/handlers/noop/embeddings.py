"""`EmbeddingClient` on nothing: hashed words, so that texts with words in common are alike."""

import hashlib
import math
import re
from collections.abc import Sequence

from crucible.effects import Handlers, Result, Success
from crucible.train.errors import TrainError
from crucible.train.ports import EmbeddingClient
from crucible.train.types import Vector


def embeddings(*, dimension: int = 64, seed: int = 0) -> Handlers[EmbeddingClient]:
    """Handle embeddings of `dimension` numbers.

    Raises: ValueError when `dimension` is below 1.
    """
    if dimension < 1:
        raise ValueError(f"dimension is {dimension}: a vector needs at least one number")
    return EmbeddingClient.handled_by(_Embeddings(dimension, seed))


def embedding(text: str, *, dimension: int, seed: int = 0) -> Vector:
    """Embed a text: each word adds 1 or -1 in a place that its hash says; then the length is made 1.

    >>> embedding("a b", dimension=4) == embedding("B, a!", dimension=4)
    True
    """
    places = [0.0] * dimension
    for word in re.findall(r"\w+", text.lower()):
        number = int.from_bytes(
            hashlib.blake2b(f"{seed}/{word}".encode("utf-8", "replace"), digest_size=8).digest(), "big"
        )
        places[(number >> 1) % dimension] += 1.0 if number & 1 else -1.0
    norm = math.sqrt(sum(place * place for place in places))
    return tuple(place / norm for place in places) if norm else (1.0, *places[1:])


class _Embeddings(EmbeddingClient):
    """An `EmbeddingClient` that holds no state."""

    def __init__(self, dimension: int, seed: int) -> None:
        self._dimension = dimension
        self._seed = seed

    async def embed_texts(self, texts: Sequence[str]) -> Result[tuple[Vector, ...], TrainError]:
        return Success(tuple(embedding(text, dimension=self._dimension, seed=self._seed) for text in texts))
