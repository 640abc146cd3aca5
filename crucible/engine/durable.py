"""Directories that are replaced whole: after a crash at any point a reader finds the old one or the new one.

Files are written to a hidden sibling, each is fsynced, the sibling is exchanged with the target in one rename, the
parent is fsynced, and what was there before is removed. Where the system cannot exchange (not Linux, some network
file systems) two renames are used, and `recover` mends a crash between them. One writer for a directory at a time.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from crucible.engine.errors import CheckpointError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def write_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """Replace `target` by a directory with exactly these files.

    Raises:
        CheckpointError: the file system refused; what was at `target` is whole and the partial files are removed.
    """
    target = target.absolute()
    partial = _sibling(target, "partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        _remove(partial)
        partial.mkdir()
        for name, content in files.items():
            write_file(partial / name, content)
        _sync_directory(partial)
        _replace(target, partial)
        _sync_directory(target.parent)
    except OSError as error:
        _remove(partial)
        raise CheckpointError(_advice(target, error, sum(map(len, files.values())))) from error
    _remove(partial)
    _remove(_sibling(target, "previous"))


def remove_directory(target: Path) -> None:
    """Remove a directory, if it is there: a reader finds all of it or nothing.

    Raises:
        CheckpointError: the file system refused.
    """
    target = target.absolute()
    removed = _sibling(target, "removed")
    try:
        _remove(removed)
        if target.exists():
            target.rename(removed)
            shutil.rmtree(removed)
    except OSError as error:
        raise CheckpointError(f"{target} was not removed ({error.strerror or error})") from error


def recover(target: Path) -> None:
    """Put the previous directory back if a crash between two renames left none at `target`."""
    target = target.absolute()
    previous = _sibling(target, "previous")
    if previous.is_dir() and not target.exists():
        previous.rename(target)


def write_file(path: Path, content: bytes) -> None:
    """Write and fsync one file."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(target: Path, partial: Path) -> None:
    if not target.exists():
        partial.rename(target)
    elif not _exchange(partial, target):
        previous = _sibling(target, "previous")
        _remove(previous)
        target.rename(previous)
        partial.rename(target)


def _exchange(left: Path, right: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(right))


def _sibling(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.{role}"


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advice(target: Path, error: OSError, num_bytes: int) -> str:
    whole = "the previous one there, if any, is whole"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        fix = f"free at least {num_bytes / 1e6:.1f} MB beside it, or save elsewhere"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "make its parent writable, or save elsewhere"
    else:
        fix = "check the path and the disk"
    return f"checkpoint {target} was not written ({error.strerror or error}); {whole}. To fix: {fix}"
