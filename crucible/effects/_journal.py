"""`Journal`: the calls of one run and their results, in memory or in a framed, append-only file.

A frame is one line, `crc32 length {json}`, with a sequence number inside. A tail torn by a crash is cut off when the file
is opened, never guessed at. What follows a damaged frame is moved to a file beside it, never thrown away.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import attrs
from returns.result import Result

from crucible.effects._codec import Json, decode, encode

try:
    import fcntl
except ImportError:  # not on POSIX; journals in memory work all the same
    fcntl = None  # type: ignore[assignment]  # the module is absent

Record: TypeAlias = dict[str, Json]


@attrs.frozen(kw_only=True)
class Entry:
    """A call: where, what, with which arguments (digest and text of each), and the result.

    The result is None for a call that was cancelled while it was made: nobody saw its answer. `began` and `ended` are
    moments of the journal's own clock, which only counts; 0 where the order does not matter.
    """

    path: str
    call: str
    arguments: dict[str, tuple[str, str]]
    result: Result[object, object] | None
    began: int = 0
    ended: int = 0


class JournalError(Exception):
    """A journal that cannot be used as asked."""


class Journal:
    """The calls of one run. `Journal()` lives in memory, `Journal.open(path)` in a file as well.

    >>> journal = Journal()
    >>> journal.append(Entry(path="#1", call="Clock.now", arguments={}, result=None))
    >>> [entry.call for entry in journal]
    ['Clock.now']
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._in_doubt: dict[str, str] = {}
        self._choices: dict[str, int] = {}
        self._sequence = 0
        self._moment = 0
        self._file: int | None = None
        self._closed = False
        self._end = 0  # of the last whole frame in the file

    @classmethod
    def open(cls, path: Path | str) -> "Journal":
        """Open a journal file, made if absent, and read what it holds; a torn last frame is cut off.

        Whole frames behind a damaged one are not read, as nothing is known of what stood between; they are moved to a
        file of the same name and `.damaged`.

        Raises: JournalError when it is open already, here or in another process, and on a system that is not POSIX;
        UnrecordableError when it names a class that is not imported.
        """
        if fcntl is None:
            raise JournalError("a journal file needs the file locks of a POSIX system: use Journal(), in memory, here")
        journal = cls()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        journal._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(journal._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            journal.close()
            raise JournalError(
                f"{path} is open already, here or in another process: one run has one journal"
            ) from error
        try:
            journal._read(path)
        except BaseException:
            journal.close()
            raise
        return journal

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        for record, self._end in read_frames(data):
            self._take(record)
        rest = data[self._end :]
        if b"\n" in rest:
            with path.with_name(f"{path.name}.damaged").open("ab") as kept:
                kept.write(rest)
        self._cut()

    @property
    def in_doubt(self) -> tuple[str, ...]:
        """Calls that began and whose end was not written: nobody knows whether they happened."""
        return tuple(f"{call} at {path}" for path, call in self._in_doubt.items())

    @property
    def paths_in_doubt(self) -> frozenset[str]:
        """Where the calls in doubt stand."""
        return frozenset(self._in_doubt)

    @property
    def choices(self) -> Mapping[str, int]:
        """What the interpreter chose, by the path where it did."""
        return self._choices

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def at(self, path: str) -> Entry | None:
        """Find the call recorded at a path."""
        return self._entries.get(path)

    def moment(self) -> int:
        """Count on: the number of this moment in the order of all that is recorded here."""
        self._moment += 1
        return self._moment

    def intend(self, path: str, call: str) -> None:
        """Note that a call that must not be repeated is about to be made."""
        self._write({"kind": "intent", "path": path, "call": call}, sync=True)
        self._in_doubt[path] = call

    def append(self, entry: Entry) -> None:
        """Add a call and its result. A call that was cancelled may be made again, and stays in doubt until then.

        Raises: JournalError when the path is taken (one journal holds one run); UnrecordableError for odd values.
        """
        self.expect_none_at(entry.path)
        known = entry.path in self._in_doubt
        self._write({"kind": "done", "entry": encode(entry)} if self._file is not None else {}, sync=known)
        self._keep(entry)

    def choose(self, path: str, number: int) -> int:
        """Keep the number that the interpreter chooses at a path, and give it; what was kept before stands."""
        if path not in self._choices:
            self._write({"kind": "choice", "path": path, "number": number}, sync=False)
            self._choices[path] = number
        return self._choices[path]

    def end_at(self, moment: int) -> None:
        """Forget the calls that were answered after a moment: there the run broke off."""
        self._write({"kind": "end", "moment": moment}, sync=False)
        self._forget_after(moment)

    def expect_none_at(self, path: str) -> None:
        """Make sure that no answered call is recorded at a path.

        Raises: JournalError when there is one.
        """
        entry = self._entries.get(path)
        if entry is not None and entry.result is not None:
            raise JournalError(f"the journal already holds a call at {path}: one journal records one run")

    def close(self) -> None:
        """Let go of the file. Closing again is no error."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            self._closed = True

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, record: Record) -> None:
        self._sequence += 1
        if record["kind"] == "intent":
            self._in_doubt[str(record["path"])] = str(record["call"])
            return
        if record["kind"] == "choice":
            self._choices[str(record["path"])] = int(str(record["number"]))
            return
        if record["kind"] == "end":
            self._forget_after(int(str(record["moment"])))
            return
        entry = decode(record["entry"])
        if isinstance(entry, Entry):
            self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self._moment = max(self._moment, entry.ended)
        if entry.result is not None:
            self._in_doubt.pop(entry.path, None)
        self._entries[entry.path] = entry

    def _forget_after(self, moment: int) -> None:
        self._entries = {path: entry for path, entry in self._entries.items() if entry.ended <= moment}

    def _cut(self) -> None:
        """Cut off what stands behind the last whole frame."""
        if self._file is not None and os.fstat(self._file).st_size != self._end:
            os.ftruncate(self._file, self._end)

    def _write(self, record: Record, *, sync: bool) -> None:
        if self._closed:
            raise JournalError("the journal is closed: nothing more can be recorded in it")
        if self._file is None:
            return
        self._cut()  # what a write before this one left, if it could not be cut then
        frame = write_frame({"seq": self._sequence + 1, **record})
        try:
            if os.write(self._file, frame) != len(frame):
                raise OSError("the disk took only a part of a frame")
        except BaseException:
            self._cut()
            raise
        self._sequence += 1
        self._end += len(frame)
        if sync:
            os.fsync(self._file)


def write_frame(record: Record) -> bytes:
    """Give the line that holds `record`."""
    body = json.dumps(record, allow_nan=False, separators=(",", ":")).encode()
    return b"%08x %d %b\n" % (zlib.crc32(body), len(body), body)


def read_frames(data: bytes) -> Iterator[tuple[Record, int]]:
    """Give each whole record of `data` and where it ends; stop at the first frame that is torn or changed.

    >>> frame = write_frame({"seq": 1})
    >>> [record for record, _ in read_frames(frame + write_frame({"seq": 2})[:-3])]
    [{'seq': 1}]
    """
    position, expected = 0, 1
    while (end := data.find(b"\n", position)) >= 0:
        crc, _, rest = data[position:end].partition(b" ")
        length, _, body = rest.partition(b" ")
        if crc != b"%08x" % zlib.crc32(body) or length != b"%d" % len(body):
            return
        record = json.loads(body)
        if record.get("seq") != expected:
            return
        position, expected = end + 1, expected + 1
        yield record, position
