"""Files of this machine that a handler reads or makes: whole or not at all, what goes wrong as the ports' errors."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible.storage import sync
from crucible.train.errors import InvalidRequest, NotFound, StorageFailed


class RefusedError(Exception):
    """An expected failure on its way out of blocking work, as the error value that it becomes."""

    def __init__(self, error: InvalidRequest | NotFound | StorageFailed) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def about_file(file: Path) -> Iterator[None]:
    """Say of what goes wrong inside that it is about `file`.

    Raises: RefusedError in the place of OSError.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise RefusedError(
            NotFound(kind="file", name=str(file), fix="give one that is there, in a folder that is")
        ) from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise RefusedError(InvalidRequest(message=f"{file} is no path of a file", fix="give another")) from error
    except OSError as error:
        fix = "look at the file, its rights and the space left"
        raise RefusedError(StorageFailed(path=str(file), message=error.strerror or str(error), fix=fix)) from error


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give the path of an empty file beside `target`, which takes its name and place at the end, or goes when that fails.

    Raises: RefusedError when the file cannot be made or put there.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    with about_file(target):
        part.touch(exist_ok=False)
    try:
        yield part
        with about_file(target):
            sync(part)
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def add_file(folder: Path, names: Iterable[str], data: bytes) -> Path:
    """Write a file that replaces none: under the first of `names` that is free, or that stands for these very bytes.

    Raises: RefusedError when it cannot be written.
    """
    part = folder / f".{uuid.uuid4().hex}"
    with about_file(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            added = next(path for path in map(folder.joinpath, names) if _is_or_becomes(path, part, data))
            sync(folder)
            return added
        finally:
            part.unlink(missing_ok=True)


def _is_or_becomes(path: Path, part: Path, data: bytes) -> bool:
    try:
        path.hardlink_to(part)  # which replaces nothing, as a rename would
    except FileExistsError:
        return path.is_file() and path.read_bytes() == data
    return True
