"""`BlobStore` on nothing: bytes in memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.files import RefusedError, about_file, replacing
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import BlobStore
from crucible.train.types import BlobInfo, is_blob_path


class Blobs:
    """The blobs themselves, by path; give the same ones to several handlers and they see each other's."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}


def blobs(*, held: Blobs | None = None) -> Handlers[BlobStore]:
    """Handle blobs in memory: in `held`, or in one of its own."""
    return BlobStore.handled_by(_BlobStore(held or Blobs()))


def checked_path(path: str) -> Result[str, TrainError]:
    """Refuse what is no blob path."""
    if is_blob_path(path):
        return Success(path)
    fix = "use a relative path such as runs/1/report.json"
    return Failure(InvalidRequest(message=f"{path!r} is no blob path", fix=fix))


class _BlobStore(BlobStore):
    """A `BlobStore` over a dict."""

    def __init__(self, blobs: Blobs) -> None:
        self._held = blobs.held

    async def read(self, path: str) -> Result[bytes, TrainError]:
        return self._find(path)

    async def read_range(self, path: str, *, offset: int, length: int) -> Result[bytes, TrainError]:
        if offset < 0 or length < 0:
            return Failure(InvalidRequest(message=f"there are no {length} bytes from byte {offset} on"))
        return self._find(path).map(lambda data: data[offset : offset + length])

    async def write(self, path: str, data: bytes) -> Result[BlobInfo, TrainError]:
        def written(path: str) -> BlobInfo:
            self._held[path] = bytes(data)
            return BlobInfo(path=path, size_bytes=len(data))

        return checked_path(path).map(written)

    async def upload(self, path: str, source: str) -> Result[BlobInfo, TrainError]:
        def held(path: str) -> BlobInfo:
            with about_file(Path(source)):
                self._held[path] = Path(source).read_bytes()
            return BlobInfo(path=path, size_bytes=len(self._held[path]))

        return _refusable(lambda: checked_path(path).map(held))

    async def download(self, path: str, target: str) -> Result[BlobInfo, TrainError]:
        def brought(data: bytes) -> BlobInfo:
            with replacing(Path(target)) as part:
                part.write_bytes(data)
            return BlobInfo(path=path, size_bytes=len(data))

        return _refusable(lambda: self._find(path).map(brought))

    async def checksum(self, path: str) -> Result[str, TrainError]:
        return self._find(path).map(lambda data: hashlib.sha256(data).hexdigest())

    async def exists(self, path: str) -> Result[bool, TrainError]:
        return checked_path(path).map(self._held.__contains__)

    async def list_blobs(self, prefix: str = "") -> Result[tuple[BlobInfo, ...], TrainError]:
        found = sorted(path for path in self._held if path.startswith(prefix))
        return Success(tuple(BlobInfo(path=path, size_bytes=len(self._held[path])) for path in found))

    async def delete(self, path: str) -> Result[None, TrainError]:
        def deleted(path: str) -> None:
            self._held.pop(path, None)

        return checked_path(path).map(deleted)

    def _find(self, path: str) -> Result[bytes, TrainError]:
        def found(path: str) -> Result[bytes, TrainError]:
            data = self._held.get(path)
            return Failure(NotFound(kind="blob", name=path)) if data is None else Success(data)

        return checked_path(path).bind(found)


def _refusable(work: Callable[[], Result[BlobInfo, TrainError]]) -> Result[BlobInfo, TrainError]:
    try:
        return work()
    except RefusedError as refused:
        return Failure(refused.error)
