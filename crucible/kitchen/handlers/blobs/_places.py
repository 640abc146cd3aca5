"""Where blobs are: an `fsspec` file system, the root in it, and how a write is made whole there."""

import os
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from crucible.kitchen.handlers.blobs._errors import no_blob_path, of_folder
from crucible.kitchen.handlers.files import RefusedError
from crucible.storage import sync
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import BlobInfo

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

INCOMPLETE = ".incomplete"
"""The folder of what is being written, below the root of a `FolderPlace`. Nothing in it is a blob."""


class Place(ABC):
    """A file system that a store keeps its blobs in. Every method may block, and raises what the file system raises.

    Paths are blob paths, checked before.
    """

    extra = "blobs"
    package = "fsspec"
    abandoned_when_cancelled = False

    @property
    @abstractmethod
    def fs(self) -> "AbstractFileSystem":
        """The file system, made when first used."""

    @abstractmethod
    def locate(self, path: str) -> str:
        """Give the path in the file system."""

    @abstractmethod
    def error_of(self, error: Exception, path: str) -> TrainError | None:
        """Give the port's error for what was raised; None for a defect."""

    @abstractmethod
    def find(self, prefix: str) -> Iterator[BlobInfo]:
        """Give the blobs whose paths begin with `prefix`, in any order."""

    def write(self, path: str, data: bytes) -> None:
        """Keep bytes."""
        self.fs.pipe_file(self.locate(path), data)

    def put(self, path: str, source: Path) -> None:
        """Keep what a file holds, a piece at a time."""
        self.fs.put_file(str(source), self.locate(path))

    def get(self, path: str, target: Path) -> None:
        """Write a blob into a file, a piece at a time."""
        self.size(path)
        self.fs.get_file(self.locate(path), str(target))

    def read(self, path: str) -> bytes:
        """Give all bytes."""
        return cast("bytes", self.fs.cat_file(self.locate(path)))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Give some bytes."""
        if not length:
            self.size(path)
            return b""
        return cast("bytes", self.fs.cat_file(self.locate(path), start=offset, end=offset + length))

    def size(self, path: str) -> int:
        """Count the bytes."""
        info = self.fs.info(self.locate(path))
        if info["type"] != "file":
            raise IsADirectoryError(path)
        return int(info["size"])

    def exists(self, path: str) -> bool:
        """Tell whether there is a blob."""
        return bool(self.fs.isfile(self.locate(path)))

    def open(self, path: str) -> BinaryIO:
        """Open a blob for reading."""
        return cast("BinaryIO", self.fs.open(self.locate(path), "rb"))

    @abstractmethod
    def remove(self, path: str) -> None:
        """Delete a blob, if it is there."""


class MemoryPlace(Place):
    """A file system in memory, of its own: the one that fsspec offers is shared by the process."""

    @cached_property
    def fs(self) -> "AbstractFileSystem":
        """Make it."""
        from fsspec.implementations.memory import MemoryFileSystem

        own = MemoryFileSystem(skip_instance_cache=True)
        own.store, own.pseudo_dirs = {}, [""]
        return own

    def locate(self, path: str) -> str:
        """Give an absolute path."""
        return f"/{path}"

    def error_of(self, error: Exception, path: str) -> TrainError | None:
        """Read it as an error of files."""
        return of_folder(error, path) if isinstance(error, OSError | ValueError) else None

    def remove(self, path: str) -> None:
        """Forget it."""
        self.fs.store.pop(self.locate(path), None)

    def find(self, prefix: str) -> Iterator[BlobInfo]:
        """Give what begins with a prefix."""
        for name, info in self.fs.find("/", detail=True).items():
            if name[1:].startswith(prefix):
                yield BlobInfo(path=name[1:], size_bytes=int(info["size"]))


class FolderPlace(Place):
    """A folder of this machine. What is written is a file of its own until it is whole, then takes its name at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def fs(self) -> "AbstractFileSystem":
        """Make it."""
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(skip_instance_cache=True)

    def locate(self, path: str) -> str:
        """Give the absolute path; refuse one that a link leads out of the folder with."""
        place = self._root / path
        if path.split("/", maxsplit=1)[0] == INCOMPLETE:
            raise RefusedError(no_blob_path(path))
        if not self._holds(place):
            message = f"{path!r} leads out of the store through a link"
            raise RefusedError(InvalidRequest(message=message, fix="remove the link"))
        return str(place.absolute())

    def error_of(self, error: Exception, path: str) -> TrainError | None:
        """Read it as an error of files."""
        return of_folder(error, path) if isinstance(error, OSError | ValueError) else None

    def write(self, path: str, data: bytes) -> None:
        """Write beside, then rename."""
        self._replace(path, lambda file: file.write(data))

    def put(self, path: str, source: Path) -> None:
        """Copy beside, then rename."""
        with source.open("rb") as given:
            self._replace(path, lambda file: shutil.copyfileobj(given, file))

    def remove(self, path: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        place = Path(self.locate(path))
        if place.is_file():
            place.unlink(missing_ok=True)
            for parent in place.relative_to(self._root.absolute()).parents[:-1]:
                with suppress(OSError):  # it is not empty
                    (self._root / parent).rmdir()

    def find(self, prefix: str) -> Iterator[BlobInfo]:
        """Walk the folders; links to other folders are not followed."""
        start = self._root / prefix.rpartition("/")[0]
        if not self._holds(start):
            return
        for folder, names, files in os.walk(start):
            if INCOMPLETE in names and Path(folder) == self._root:
                names.remove(INCOMPLETE)
            for file in (Path(folder, name) for name in files):
                path = file.relative_to(self._root).as_posix()
                if path.startswith(prefix) and (not file.is_symlink() or self._holds(file)):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        yield BlobInfo(path=path, size_bytes=file.stat().st_size)

    def _holds(self, place: Path) -> bool:
        """Tell whether a path, its links followed, is below the root."""
        return place.resolve().is_relative_to(self._root.resolve())

    def _replace(self, path: str, fill: Callable[[BinaryIO], object]) -> None:
        """Write a file that is seen when it is whole and on the disk."""
        place = Path(self.locate(path))
        part = self._root / INCOMPLETE / uuid.uuid4().hex
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            self._rename(part, place)
        finally:
            part.unlink(missing_ok=True)
        with suppress(FileNotFoundError):  # deleted already
            sync(place.parent)

    def _rename(self, part: Path, place: Path) -> None:
        """Give a file its name, however often a deletion takes a folder away that it left empty."""
        while True:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                part.replace(place)
            except FileNotFoundError:
                if not part.exists():
                    raise
            except FileExistsError:
                if any(parent.is_file() for parent in place.parents):
                    raise
            except IsADirectoryError as error:
                raise FileExistsError(str(place)) from error
            else:
                return
