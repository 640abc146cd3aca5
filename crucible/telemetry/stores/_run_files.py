"""A folder with one file of lines for each run; rows are keyed by sequence number and written once."""

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote, unquote_to_bytes

from crucible.effects import Failure, Json, Result, Success, UnrecordableError
from crucible.telemetry.errors import InvalidRecord, StoreError, StoreFailed
from crucible.telemetry.stores._line_file import Known, LineFile, Lines, TornTail
from crucible.telemetry.stores._records import StoppedError, parsed


class Keyed(Protocol):
    """What has a sequence number."""

    @property
    def sequence(self) -> int:
        """The record's place in its run."""


T = TypeVar("T")
Rec = TypeVar("Rec", bound=Keyed)


class _RunFile:
    """What is known of a run's file without reading it again."""

    def __init__(self) -> None:
        self.known = Known()
        self.sequences: set[int] = set()
        self.num_lines = 0


class RunFiles(Generic[Rec]):
    """The files of a store: `<folder>/<run id, percent-encoded><suffix>`.

    Args:
        folder: made when first written to.
        suffix: of the file names.
        write: gives a record's line.
        read: gives the record of a line.
        headers: how many lines stand before the records.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        *,
        write: Callable[[str, Rec], bytes],
        read: Callable[[Mapping[str, Json]], Rec],
        headers: int,
    ) -> None:
        self._folder = folder
        self._suffix = suffix
        self._write = write
        self._read = read
        self._headers = headers
        self._files: dict[str, _RunFile] = {}
        self.torn_tails: list[TornTail] = []

    def guarded(self, use: Callable[[], T], run_id: str = "") -> Result[T, StoreError]:
        """Give what `use` gives; its errors as values."""
        path = self.path(run_id) if run_id else self._folder
        try:
            return Success(use())
        except StoppedError as stopped:
            return Failure(stopped.error)
        except OSError as error:
            fix = _FIXES.get(error.errno or 0, "look at the folder and its rights")
            return Failure(StoreFailed(path=str(path), message=error.strerror or str(error), fix=fix))

    def path(self, run_id: str) -> Path:
        """Give the file of a run."""
        return self._folder / (quote(run_id.encode("utf-8", "surrogatepass"), safe="") + self._suffix)

    def file(self, run_id: str) -> LineFile:
        """Open nothing; give the means to."""
        return LineFile(self.path(run_id), self._report)

    def append(self, run_id: str, records: Sequence[Rec], *, absent: StoreError | None = None) -> int:
        """Append the records that are new, and tell how many were. `absent` is the error where there is no file.

        Raises: OSError, StoppedError.
        """
        if absent is not None and not self.path(run_id).exists():
            raise StoppedError(absent)
        state = self._files.setdefault(run_id, _RunFile())
        fresh: dict[int, bytes] = {}

        def make(new: Lines) -> bytes:
            self._take(run_id, state, new)
            if absent is not None and state.num_lines < self._headers:
                raise StoppedError(absent)
            for index, record in enumerate(records):
                if record.sequence not in state.sequences:
                    fresh.setdefault(record.sequence, self._line(run_id, record, index))
            return b"".join(fresh.values())

        state.known = self.file(run_id).append(state.known, make)
        state.sequences.update(fresh)
        state.num_lines += len(fresh)
        return len(fresh)

    def records(self, run_id: str) -> tuple[Rec, ...]:
        """Give all records of a run; none where it has no file.

        Raises: OSError, StoppedError.
        """
        found = self.file(run_id).read()
        lines = () if found is None else found.lines[self._headers :]
        path = str(self.path(run_id))
        return tuple(
            parsed(line, self._read, path=path, number=number)
            for number, line in enumerate(lines, start=self._headers + 1)
        )

    def run_ids(self) -> tuple[str, ...]:
        """Give the runs that have a file, sorted."""
        names = (path.name.removesuffix(self._suffix) for path in self._folder.glob(f"*{self._suffix}"))
        return tuple(sorted(unquote_to_bytes(name).decode("utf-8", "surrogatepass") for name in names))

    def first_line(self, run_id: str) -> bytes | None:
        """Give the first line of a run's file; None where there is none that is whole.

        Raises: OSError.
        """
        path = self.path(run_id)
        if not path.exists():
            return None
        with path.open("rb") as file:
            line = file.readline()
        return line if line.endswith(b"\n") else None

    def delete(self, run_id: str) -> None:
        """Delete the file of a run.

        Raises: OSError.
        """
        self._files.pop(run_id, None)
        self.path(run_id).unlink(missing_ok=True)

    def _take(self, run_id: str, state: _RunFile, new: Lines) -> None:
        """Note the sequence numbers of lines that this object has not seen."""
        if new.start == 0:
            state.sequences, state.num_lines = set(), 0
        path = str(self.path(run_id))
        for line in new.lines:
            state.num_lines += 1
            if state.num_lines > self._headers:
                state.sequences.add(parsed(line, self._read, path=path, number=state.num_lines).sequence)

    def _line(self, run_id: str, record: Rec, index: int) -> bytes:
        try:
            return self._write(run_id, record)
        except (UnrecordableError, TypeError, ValueError) as error:
            fix = "keep to text, numbers, booleans, None, lists and string-keyed dicts of these"
            raise StoppedError(InvalidRecord(message=str(error), fix=fix, index=index)) from error

    def _report(self, torn: TornTail) -> None:
        if torn not in self.torn_tails:
            self.torn_tails.append(torn)


_FIXES = {
    errno.ENOSPC: "free some space; nothing of this batch was stored",
    errno.EDQUOT: "free some space; nothing of this batch was stored",
    errno.EFBIG: "raise the limit of file sizes; nothing of this batch was stored",
    errno.EACCES: "give yourself the right to write there",
    errno.ENAMETOOLONG: "choose a shorter run id",
    errno.ENOTDIR: "choose another folder: a part of this path is a file",
}
