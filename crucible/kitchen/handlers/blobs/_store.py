"""`BlobStore` over a place."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.blobs._errors import no_blob_path
from crucible.kitchen.handlers.blobs._places import Place
from crucible.kitchen.handlers.files import RefusedError, about_file, replacing
from crucible.train.errors import InvalidRequest, MissingExtra, TrainError
from crucible.train.ports import BlobStore
from crucible.train.types import BlobInfo, is_blob_path

A = TypeVar("A")

_PIECE_BYTES = 1 << 20


class FsspecBlobs(BlobStore):
    """A `BlobStore` over an `fsspec` file system. Each operation does its work in a thread."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def read(self, path: str) -> Result[bytes, TrainError]:
        return await self._attempt(path, lambda: self._place.read(path))

    async def read_range(self, path: str, *, offset: int, length: int) -> Result[bytes, TrainError]:
        if offset < 0 or length < 0:
            return Failure(InvalidRequest(message=f"there are no {length} bytes from byte {offset} on"))
        return await self._attempt(path, lambda: self._place.read_range(path, offset, length))

    async def write(self, path: str, data: bytes) -> Result[BlobInfo, TrainError]:
        def written() -> BlobInfo:
            self._place.write(path, data)
            return BlobInfo(path=path, size_bytes=len(data))

        return await self._attempt(path, written)

    async def upload(self, path: str, source: str) -> Result[BlobInfo, TrainError]:
        def uploaded() -> BlobInfo:
            with about_file(Path(source)), Path(source).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
            self._place.put(path, Path(source))
            return BlobInfo(path=path, size_bytes=size)

        return await self._attempt(path, uploaded)

    async def download(self, path: str, target: str) -> Result[BlobInfo, TrainError]:
        def downloaded() -> BlobInfo:
            with replacing(Path(target)) as part:
                self._place.get(path, part)
                return BlobInfo(path=path, size_bytes=part.stat().st_size)

        return await self._attempt(path, downloaded)

    async def checksum(self, path: str) -> Result[str, TrainError]:
        def summed() -> str:
            digest = hashlib.sha256()
            with self._place.open(path) as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
            return digest.hexdigest()

        return await self._attempt(path, summed)

    async def exists(self, path: str) -> Result[bool, TrainError]:
        return await self._attempt(path, lambda: self._place.exists(path))

    async def list_blobs(self, prefix: str = "") -> Result[tuple[BlobInfo, ...], TrainError]:
        folder, slash, _ = prefix.rpartition("/")
        if (slash and not is_blob_path(folder)) or "\0" in prefix:
            return Success(())  # no blob has a path that begins so
        return await self._guard(prefix, lambda: tuple(sorted(self._place.find(prefix), key=lambda info: info.path)))

    async def delete(self, path: str) -> Result[None, TrainError]:
        return await self._attempt(path, lambda: self._place.remove(path))

    async def _attempt(self, path: str, work: Callable[[], A]) -> Result[A, TrainError]:
        """Do blocking work on a blob path."""
        return await self._guard(path, work) if is_blob_path(path) else Failure(no_blob_path(path))

    async def _guard(self, path: str, work: Callable[[], A]) -> Result[A, TrainError]:
        def guarded() -> Result[A, TrainError]:
            try:
                return Success(work())
            except ImportError:
                return Failure(MissingExtra(extra=self._place.extra, package=self._place.package))
            except RefusedError as refused:
                return Failure(refused.error)
            except Exception as error:
                found = self._place.error_of(error, path)
                if found is None:
                    raise
                return Failure(found)

        return await anyio.to_thread.run_sync(guarded, abandon_on_cancel=self._place.abandoned_when_cancelled)
