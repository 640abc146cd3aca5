"""Rows of text files: JSON lines, JSON and plain text, packed or not. A value is what is written: a date stays text."""

import bz2
import gzip
import json
import lzma
import shutil
import tempfile
import threading
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.hf._errors import Refused
from crucible.kitchen.handlers.rows import ManyRows
from crucible.train.errors import MissingExtra, StorageFailed, TrainError
from crucible.train.types import Row

if TYPE_CHECKING:
    import zstandard

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
_AT_ONCE = 1 << 20  # bytes that are unpacked at once
_FIRST_BYTES = 4096  # enough to tell what a file is


class TextRows(ManyRows):
    """The rows of files, read where they are wanted: only where each line begins is kept in memory.

    A JSON document (a list of objects, or one object) is kept whole.

    Args:
        files: in their order.
        kind: `json` for lines and documents of objects, `text` for lines that are rows `{"text": line}`.

    Raises: Refused, when a file cannot be read, or no file has a row.
    """

    def __init__(self, files: Sequence[str], kind: str) -> None:
        self._parts = [_part(file, kind) for file in files]
        self._ends = list(accumulate(len(part) for part in self._parts))
        if not len(self):
            fix = "write one JSON object a line" if kind == "json" else "write one text a line"
            raise Refused(StorageFailed(path=", ".join(files), message="there is no row in it", fix=fix))

    def __len__(self) -> int:
        return self._ends[-1]

    def pick(self, indices: Sequence[int]) -> Result[tuple[Row, ...], TrainError]:
        """Read the rows at `indices`; one that cannot be read is named by its file and line."""
        try:
            return Success(tuple(self._row(number) for number in indices))
        except Refused as refused:
            return Failure(refused.error)

    def _row(self, number: int) -> Row:
        part = bisect_right(self._ends, number)
        return self._parts[part][number - (self._ends[part - 1] if part else 0)]


def rows_of_file(path: str, kind: str) -> Iterator[Row]:
    """Read a file from its first row to its last, holding one line of it. Raises: Refused."""
    with closing(opened(path)) as file:
        document = _document(file, path) if kind == "json" else None
        if document is not None:
            yield from document
            return
        for number, line in enumerate(_lines(file), start=1):
            if kind == "text" or line.strip():
                yield _row_of(line, kind, path, number)


class _Lines:
    """A file whose lines are rows. For use in threads."""

    def __init__(self, file: BinaryIO, path: str, kind: str) -> None:
        self._file, self._path, self._kind = file, path, kind
        self._lock = threading.Lock()
        self._starts = array("q")
        self._numbers = array("q")
        place = file.tell()
        for number, line in enumerate(_lines(file), start=1):
            if kind == "text" or line.strip():
                self._starts.append(place)
                self._numbers.append(number)
            place = file.tell()
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        with self._lock:
            self._file.seek(self._starts[index])
            line = self._file.readline()
        return _row_of(line, self._kind, self._path, self._numbers[index])


def _part(path: str, kind: str) -> "list[Row] | _Lines":
    with ExitStack() as held:
        file = held.enter_context(closing(opened(path)))
        document = _document(file, path) if kind == "json" else None
        if document is not None:
            return document
        lines = _Lines(file, path, kind)
        held.pop_all()  # the lines are read from it from now on
        return lines


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Read line by line, in a way that leaves the file's position at the end of each."""
    return iter(file.readline, b"")


def opened(path: str) -> BinaryIO:
    """Open a file after its byte order mark, unpacked where it is packed, and refuse one of another encoding."""
    file = _unpacked(path)
    try:
        first = file.read(_FIRST_BYTES)
        encoding = _OTHER_ENCODINGS.get(first[:2]) or (
            "UTF-16" if b"\x00" in first[:64] and b"\n\x00" in first else None
        )
        if encoding is not None:
            raise damaged(
                path, f"it is {encoding}", f"write it as UTF-8: iconv -f {encoding} -t UTF-8 {Path(path).name}"
            )
        file.seek(len(_BYTE_ORDER_MARK) if first.startswith(_BYTE_ORDER_MARK) else 0)
    except BaseException:
        file.close()
        raise
    return file


def _unpacked(path: str) -> BinaryIO:
    file = Path(path).open("rb")  # noqa: SIM115  # whoever asked for it closes it
    first = file.read(8)
    file.seek(0)
    packing = next((name for mark, name in _PACKED.items() if first.startswith(mark)), None)
    if packing is None:
        if Path(path).suffix in {".gz", ".bz2", ".xz", ".zst"}:
            file.close()
            raise damaged(path, "it is not packed as its name says", "name it without that ending, or pack it again")
        return file
    with file, ExitStack() as stack:
        held = stack.enter_context(tempfile.TemporaryFile())
        try:
            _unpack(file, packing, held)
        except Refused:
            raise
        except Exception as error:  # each packing raises errors of its own at damaged data
            raise damaged(path, f"its {packing} data is damaged ({error})", "pack or download it again") from error
        held.seek(0)
        stack.pop_all()
        return held


def _unpack(file: BinaryIO, packing: str, held: IO[bytes]) -> None:
    match packing:
        case "gzip":
            shutil.copyfileobj(gzip.GzipFile(fileobj=file), held)
        case "bz2":
            shutil.copyfileobj(bz2.BZ2File(file), held)
        case "xz":
            shutil.copyfileobj(lzma.LZMAFile(file), held)  # noqa: SIM115  # it wraps what the caller closes
        case _:
            try:
                import zstandard
            except ImportError as error:
                raise Refused(MissingExtra(extra="hf", package="zstandard")) from error
            for frame in _frames(file, zstandard.ZstdDecompressor):
                held.write(frame)


def _frames(file: BinaryIO, reader: "Callable[[], zstandard.ZstdDecompressor]") -> Iterator[bytes]:
    """Unpack frame after frame. Raises: EOFError where the last is cut off, which zstandard's own streams pass over."""
    frame = reader().decompressobj()
    while data := frame.unused_data if frame.eof else file.read(_AT_ONCE):
        frame = reader().decompressobj() if frame.eof else frame
        yield frame.decompress(data)
    if not frame.eof:
        raise EOFError("it ends in the middle")


def _document(file: BinaryIO, path: str) -> list[Row] | None:
    """Give the rows of a file that is one JSON value over all its lines; None where each line is a value."""
    begin = file.tell()
    first = next((line for line in _lines(file) if line.strip()), b"")
    file.seek(begin)
    if not first.lstrip().startswith(b"[") and (not first.lstrip().startswith(b"{") or _is_json(first)):
        return None
    try:
        value = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        file.seek(begin)
        if first.lstrip().startswith(b"{"):
            return None  # lines, the first of which is damaged: reading it says so
        raise _not_json(path, error) from error
    rows = value if isinstance(value, list) else [value]
    return [_checked(row, path, f"element {place}") for place, row in enumerate(rows)]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _row_of(line: bytes, kind: str, path: str, number: int) -> Row:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise no_utf8(path, error, line=number) from error
    if kind == "text":
        return {"text": text.rstrip("\r\n")}
    try:
        return _checked(json.loads(text), path, f"line {number}")
    except (ValueError, RecursionError) as error:
        raise _not_json(path, error, line=number) from error


def _checked(row: object, path: str, place: str) -> Row:
    if not isinstance(row, dict):
        raise damaged(path, f"{place} is {_named(row)}, not an object", 'write objects, such as {"text": "..."}')
    if _halves_a_pair(row):
        raise damaged(path, f"{place} holds half of a surrogate pair", "write the character whole")
    return row


def _halves_a_pair(value: object) -> bool:
    """Tell whether some text in a value is none: JSON can escape half of a character, which no encoding writes."""
    match value:
        case str():
            return not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
        case dict():
            return any(map(_halves_a_pair, value)) or any(map(_halves_a_pair, value.values()))
        case list():
            return any(map(_halves_a_pair, value))
        case _:
            return False


def _not_json(path: str, error: Exception, *, line: int | None = None) -> Refused:
    where = "it" if line is None else f"line {line}"
    why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    if isinstance(error, json.JSONDecodeError):
        at = f"column {error.colno}" if line is not None else f"line {error.lineno}, column {error.colno}"
        why = f"{error.msg} at {at}"
    return damaged(path, f"{where} is no JSON ({why})", "mend it or take it out")


def _named(value: object) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    return names.get(type(value), "null")


def no_utf8(path: str, error: UnicodeDecodeError, *, line: int | None = None) -> Refused:
    """Say of a file that its bytes are not the text that it should be."""
    where = "" if line is None else f" at column {error.start + 1} of line {line}"
    fix = f"if it is Latin-1, write it as UTF-8: iconv -f LATIN1 -t UTF-8 {Path(path).name}"
    return damaged(path, f"byte {error.object[error.start]:#x}{where} is no UTF-8", fix)


def damaged(path: str, message: str, fix: str) -> Refused:
    """Say of a file what is wrong with it, and what to do."""
    return Refused(StorageFailed(path=path, message=message, fix=fix))
