"""`EmbeddingClient` on `huggingface_hub`'s `InferenceClient`."""

import math
from collections.abc import Sequence

import anyio

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.hf._config import InferenceConfig
from crucible.kitchen.handlers.hf._errors import Refused, attempted
from crucible.kitchen.handlers.hf._inference import AtOnce, client_of, served_at
from crucible.train.errors import BackendFailed, InvalidRequest, TrainError
from crucible.train.ports import EmbeddingClient
from crucible.train.types import Vector

TEXTS_AT_ONCE = 64
"""The most texts in one request: more than servers take by default is seldom."""


class HfEmbeddings(EmbeddingClient):
    """Asks a served model, a limited number of times at once."""

    def __init__(self, config: InferenceConfig) -> None:
        self._config = config
        self._at_once = AtOnce(config.limit)

    async def embed_texts(self, texts: Sequence[str]) -> Result[tuple[Vector, ...], TrainError]:
        if self._config.model is None and self._config.url is None:
            return Failure(InvalidRequest(message="no model is named", fix="give InferenceConfig a model, or a url"))
        parts = [texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE)]
        found: dict[int, Result[tuple[Vector, ...], TrainError]] = {}

        async def embed(place: int) -> None:
            found[place] = await self._embedded(parts[place])
            if isinstance(found[place], Failure):
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(parts)):
                group.start_soon(embed, place)
        failed = next((result for result in found.values() if isinstance(result, Failure)), None)
        if failed is not None:
            return failed
        vectors = tuple(vector for place in range(len(parts)) for vector in found[place].unwrap())
        if len({len(vector) for vector in vectors}) > 1:
            return Failure(BackendFailed(message=f"{self._about} gave vectors of several dimensions"))
        return Success(vectors)

    @property
    def _about(self) -> str:
        return served_at(self._config, self._config.model)

    async def _embedded(self, texts: Sequence[str]) -> Result[tuple[Vector, ...], TrainError]:
        sent = [text or " " for text in texts]  # most servers refuse a text of nothing

        def embedded() -> tuple[Vector, ...]:
            is_openai = self._config.url is not None and self._config.url.rstrip("/").endswith("/v1")
            vectors = self._of_openai(sent) if is_openai else self._of_hugging_face(sent)
            if len(vectors) != len(sent):
                raise Refused(BackendFailed(message=f"{len(sent)} texts gave {len(vectors)} vectors"))
            return tuple(map(_of_length_one, vectors))

        token, limiter = self._config.token, self._at_once.limiter
        return await attempted(embedded, about=self._about, token=token, limiter=limiter)

    def _of_hugging_face(self, texts: list[str]) -> Sequence[object]:
        """Ask as the hub's providers and endpoints want it."""
        with client_of(self._config) as client:
            vectors: list[object] = client.feature_extraction(texts, model=self._model_at_hub).tolist()
            return vectors

    @property
    def _model_at_hub(self) -> str | None:
        return None if self._config.url is not None else self._config.model

    def _of_openai(self, texts: list[str]) -> Sequence[object]:
        """Ask as OpenAI-compatible servers want it, for which the SDK has a session but no method."""
        from huggingface_hub import get_session
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # exported when it is run

        config = self._config
        response = get_session().post(
            f"{(config.url or '').rstrip('/')}/embeddings",
            json={"input": texts, "encoding_format": "float"} | ({"model": config.model} if config.model else {}),
            headers=build_hf_headers(token=config.token or False),
            timeout=config.timeout_seconds,
        )
        hf_raise_for_status(response)
        said = response.json()
        rows = said.get("data") if isinstance(said, dict) else None
        if not isinstance(rows, list):
            raise Refused(BackendFailed(message=f"{self._about} gave no embeddings"))
        return [row.get("embedding") for row in sorted(rows, key=lambda row: int(row.get("index", 0)))]


def _of_length_one(vector: object) -> Vector:
    """Make the length 1.

    >>> _of_length_one([3.0, 4.0])
    (0.6, 0.8)

    Raises: Refused for what is no vector, or has no direction.
    """
    if not isinstance(vector, list) or not all(isinstance(number, int | float) for number in vector):
        raise Refused(BackendFailed(message="the server gave something else than one vector for each text"))
    norm = math.hypot(*vector)
    if not (math.isfinite(norm) and norm > 0):
        raise Refused(BackendFailed(message=f"the server gave a vector of length {norm}"))
    return tuple(number / norm for number in vector)
