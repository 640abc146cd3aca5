"""Streams: datasets that are read file by file, in order, without a table of all rows."""

import json
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from crucible.effects import Json
from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._errors import Refused
from crucible.kitchen.handlers.hf._lines import rows_of_file
from crucible.kitchen.handlers.hf._sources import Source, reading, saved_split, source_of
from crucible.kitchen.handlers.hf._tables import rows_of_columns, undecoded
from crucible.kitchen.handlers.rows import Recipe, not_a_position
from crucible.train.errors import InvalidRequest, Unsupported
from crucible.train.types import Row, RowBatch

if TYPE_CHECKING:
    from datasets import IterableDataset

SHUFFLE_BUFFER = 1000
"""Rows that a shuffled stream holds, and draws from, when `shuffle_buffer` says nothing else."""

_MOST_OPEN = 8
_ROWS_AT_ONCE = 256  # rows that are turned into Python's values together


@attrs.define
class _Reader:
    """A stream that is open, after `row` rows."""

    stream: "IterableDataset"
    rows: Iterator[Row]
    row: int
    position: str | None
    is_shuffled: bool

    def read(self, count: int | None) -> tuple[Row, ...]:
        """Read rows, and write down where the stream is then.

        The library's own state leads back to a row in its file, but not to what was in the buffer of a shuffle: a shuffled
        stream is read again up to its row, from files that are here by then. Of a stream that was not read yet, the state is
        not the one it was given.
        """
        rows = tuple(islice(self.rows, count))
        self.row += len(rows)
        if rows or self.position is None:
            state = None if self.is_shuffled else self.stream.state_dict()
            self.position = json.dumps({"row": self.row, "state": state}, separators=(",", ":"))
        return rows


class Streams:
    """Reads streams, each from where it was left when it is read in order. For use in threads."""

    def __init__(self, hf: HfConfig) -> None:
        self._hf = hf
        self._open: dict[str, _Reader] = {}
        self._sources: dict[str, Source] = {}
        self._lock = threading.Lock()

    def check(self, recipe: Recipe) -> None:
        """Find the files, and refuse what a stream cannot do."""
        for operation, argument in recipe.steps:
            if operation == "select":
                fix = "load it with streaming=False"
                raise Refused(Unsupported(feature="select", backend="a stream", fix=fix))
            if operation != "shuffle" and isinstance(argument, int) and argument < 0:
                raise Refused(InvalidRequest(message=f"{argument} rows cannot be taken or left out"))
        self._stream(recipe)

    def read(self, recipe: Recipe, start: int, count: int | None) -> tuple[Row, ...]:
        """Read rows from a row on."""
        reader = self._taken(recipe, lambda reader: reader.row == start)
        if reader is None:
            reader = self._opened(recipe, None)
            with reading(recipe.config.name):
                reader.read(start)
        return self._read(recipe, reader, count).rows

    def read_batch(self, recipe: Recipe, count: int, after: str | None) -> RowBatch:
        """Read rows from a position on."""
        reader = self._taken(recipe, lambda reader: reader.position == after)
        return self._read(recipe, reader or self._opened(recipe, after), count)

    def _read(self, recipe: Recipe, reader: _Reader, count: int | None) -> RowBatch:
        with reading(recipe.config.name):
            rows = reader.read(count)
        with self._lock:
            self._open[recipe.id] = reader
            for oldest in list(self._open)[:-_MOST_OPEN]:
                del self._open[oldest]
        return RowBatch(rows=rows, position=str(reader.position))

    def _taken(self, recipe: Recipe, fits: Callable[[_Reader], bool]) -> _Reader | None:
        """Take an open reader away, if it is where it should be."""
        with self._lock:
            reader = self._open.pop(recipe.id, None)
        return reader if reader is not None and fits(reader) else None

    def _opened(self, recipe: Recipe, after: str | None) -> _Reader:
        row, state = _position(after)
        stream = self._stream(recipe)
        if state is not None:
            if not _is_alike(state, stream.state_dict()):
                raise Refused(not_a_position(after))
            stream.load_state_dict(state)
        rows = iter(stream)
        if state is None:
            with reading(recipe.config.name):
                row = sum(1 for _ in islice(rows, row))
        shuffled = any(operation == "shuffle" for operation, _ in recipe.steps)
        return _Reader(stream, rows, row, after, shuffled)

    def _stream(self, recipe: Recipe) -> "IterableDataset":
        saved = saved_split(recipe.config)
        stream = _stream_of(self._source(recipe)) if saved is None else undecoded(saved).to_iterable_dataset()
        for operation, argument in recipe.steps:
            if operation == "shuffle":
                buffer = recipe.config.options.get("shuffle_buffer", SHUFFLE_BUFFER)
                stream = stream.shuffle(seed=argument, buffer_size=buffer)
            else:
                stream = stream.take(argument) if operation == "take" else stream.skip(argument)
        return stream

    def _source(self, recipe: Recipe) -> Source:
        key = Recipe(config=recipe.config).id
        if key not in self._sources:
            self._sources[key] = source_of(recipe.config, self._hf)
        return self._sources[key]


def _stream_of(source: Source) -> "IterableDataset":
    """Read file after file; each is fetched when the stream comes to it."""
    from datasets import IterableDataset
    from datasets.iterable_dataset import ExamplesIterable

    def rows_of(files: list[str]) -> Iterator[tuple[str, Row]]:
        for file in files:
            for number, row in enumerate(_rows_of(source, source.fetch(file))):
                yield f"{file}:{number}", row

    return IterableDataset(ExamplesIterable(rows_of, {"files": list(source.files)}))


def _rows_of(source: Source, file: str) -> Iterator[Row]:
    if source.is_lines:
        yield from rows_of_file(file, source.kind)
        return
    stream = undecoded(source.builder("train", [file]).as_streaming_dataset(split="train"))
    for columns in stream.iter(batch_size=_ROWS_AT_ONCE):
        yield from rows_of_columns(columns)


def _position(text: str | None) -> tuple[int, dict[str, Json] | None]:
    """Read the row of a position, and the library's state there."""
    if text is None:
        return 0, None
    try:
        position = json.loads(text)
    except ValueError:
        raise Refused(not_a_position(text)) from None
    row, state = (position.get("row"), position.get("state", 0)) if isinstance(position, dict) else (None, None)
    if not isinstance(row, int) or row < 0 or not isinstance(state, dict | None):
        raise Refused(not_a_position(text))
    return row, state


def _is_alike(state: Json, example: object) -> bool:
    """Tell whether a state has the form of another of the same stream; what is None there may be anything."""
    if isinstance(state, dict) and isinstance(example, dict):
        return state.keys() == example.keys() and all(_is_alike(state[name], example[name]) for name in state)
    return example is None or type(state) is type(example)
