"""`EmbeddingClient` on sentence-transformers."""

import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.train.errors import BackendFailed, InvalidRequest, MissingExtra, NotFound, StorageFailed, TrainError
from crucible.train.ports import EmbeddingClient
from crucible.train.types import Vector

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class LocalEmbeddings(EmbeddingClient):
    """Loads a model when it is first asked, and asks it from one thread at a time."""

    def __init__(self, model: Path, *, device: str | None, texts_at_once: int) -> None:
        self._path = model
        self._device = device
        self._texts_at_once = texts_at_once
        self._model: SentenceTransformer | None = None
        self._lock = threading.Lock()

    async def embed_texts(self, texts: Sequence[str]) -> Result[tuple[Vector, ...], TrainError]:
        if find_spec("sentence_transformers") is None:
            return Failure(MissingExtra(extra="embeddings", package="sentence-transformers"))
        if not (self._path / "config.json").is_file() and not (self._path / "modules.json").is_file():
            fix = "give the folder of a model that sentence-transformers saved; nothing is fetched"
            return Failure(NotFound(kind="model", name=str(self._path), fix=fix))
        for index, text in enumerate(texts):
            if not _is_whole(text):
                fix = "decode it with errors='replace'"
                return Failure(
                    InvalidRequest(message="a text holds half a character (a surrogate)", fix=fix, index=index)
                )
        return await anyio.to_thread.run_sync(self._embedded, list(texts))

    def _embedded(self, texts: list[str]) -> Result[tuple[Vector, ...], TrainError]:
        with self._lock:
            from safetensors import SafetensorError

            try:
                model = self._model = self._model or _loaded(self._path, self._device)
            except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
                fix = "its weights must be whole, in safetensors, and need no code of their own"
                return Failure(StorageFailed(path=str(self._path), message=_first_line(error), fix=fix))
            try:
                vectors_ND = model.encode(
                    texts, batch_size=self._texts_at_once, normalize_embeddings=True, show_progress_bar=False
                )
            except RuntimeError as error:  # out of memory, mostly
                return Failure(BackendFailed(message=f"{self._path}: {_first_line(error)}"))
            return Success(tuple(tuple(vector) for vector in vectors_ND.tolist()) if texts else ())


def _loaded(path: Path, device: str | None) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    for pickled in sorted(path.rglob("pytorch_model.bin")):  # what a module without safetensors would fall back to
        if not pickled.with_name("model.safetensors").exists():
            raise OSError(f"{pickled.relative_to(path)} is not in safetensors")
    return SentenceTransformer(
        str(path),
        device=device,
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs={"use_safetensors": True},
    )


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
