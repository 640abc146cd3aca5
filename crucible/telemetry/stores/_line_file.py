"""A file of whole lines, appended to by one process at a time and readable by any.

A line counts when its newline is there. What follows the last newline was torn off by a crash: readers leave it out, the
next append cuts it off, and both report it.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

logger = logging.getLogger(__name__)

_TAIL_BYTES = 256  # about one record


@attrs.frozen(kw_only=True)
class TornTail:
    """Bytes at the end of a file that are no whole record, and were left out."""

    path: str
    offset: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{self.path}: {self.num_bytes} bytes from byte {self.offset} on are no whole record and were left out"


@attrs.frozen(kw_only=True)
class Lines:
    """Whole lines of a file, without their newlines, and where they end."""

    lines: tuple[bytes, ...]
    start: int
    end: int


@attrs.frozen(kw_only=True)
class Known:
    """How far a file was read before, and the last bytes there: it is the same file if they still are."""

    end: int = 0
    tail: bytes = b""


class LineFile:
    """One file. It is opened for each use, so that it may be deleted, or copied, between two."""

    def __init__(self, path: Path, report: Callable[[TornTail], None]) -> None:
        self.path = path
        self._report = report

    def read(self) -> Lines | None:
        """Give all whole lines, None when there is no file.

        Raises: OSError.
        """
        try:
            with self._opened(os.O_RDONLY, fcntl.LOCK_SH) as file:
                return self._lines(file, 0)
        except FileNotFoundError:
            return None

    def append(self, known: Known, make: Callable[[Lines], bytes]) -> Known:
        """Append what `make` gives for the lines after the known ones (all lines, if the file is another by now).

        The whole is written or nothing: a write that fails is undone.

        Raises: OSError, and what `make` raises.
        """
        with self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as file:
            size = os.fstat(file).st_size
            same = known.end <= size and _read_all(file, known.end - len(known.tail), len(known.tail)) == known.tail
            new = self._lines(file, known.end if same else 0)
            data = make(new)
            if new.end < size:
                os.ftruncate(file, new.end)
            try:
                _write_all(file, data)
            except OSError:
                os.ftruncate(file, new.end)
                raise
            end = new.end + len(data)
            length = min(end, _TAIL_BYTES)
            return Known(end=end, tail=_read_all(file, end - length, length))

    def sync(self) -> None:
        """Bring the file and its entry in the folder to the disk. A file that is not there is none to bring.

        Raises: OSError.
        """
        for path in (self.path, self.path.parent):
            if path.exists():
                file = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)

    @contextmanager
    def _opened(self, flags: int, lock: int) -> Iterator[int]:
        if flags & os.O_CREAT:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(file, lock)
            yield file
        finally:
            os.close(file)

    def _lines(self, file: int, start: int) -> Lines:
        data = _read_all(file, start)
        length = data.rfind(b"\n") + 1
        if length < len(data):
            torn = TornTail(path=str(self.path), offset=start + length, num_bytes=len(data) - length)
            logger.warning("%s", torn)
            self._report(torn)
        return Lines(lines=tuple(data[:length].split(b"\n")[:-1]), start=start, end=start + length)


def _read_all(file: int, start: int, length: int | None = None) -> bytes:
    """Read from `start` on: `length` bytes, or to the end."""
    parts = []
    left = (os.fstat(file).st_size - start) if length is None else length
    while left > 0 and (part := os.pread(file, left, start)):
        parts.append(part)
        start, left = start + len(part), left - len(part)
    return b"".join(parts)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
