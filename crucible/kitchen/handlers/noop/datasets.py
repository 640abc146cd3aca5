"""`DatasetStore` on nothing: rows given in memory, rows of noop blobs, or conversations made up for the purpose."""

import json
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.noop.blobs import Blobs
from crucible.kitchen.handlers.rows import RowStore
from crucible.train.errors import NotFound, StorageFailed, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import DatasetConfig, Row

Splits: TypeAlias = Mapping[str, Sequence[Row]]

_SUBJECTS = ("a cat", "a dog", "the sun", "the sea", "a tree", "a song", "a stone", "the wind")
_QUESTIONS = ("What is {}?", "Tell me about {}.", "Where do I find {}?", "Who loves {}?")


def _conversation(number: int) -> Row:
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    question = _QUESTIONS[number // len(_SUBJECTS) % len(_QUESTIONS)].format(subject)
    answer = f"Question {number} is about {subject}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


DEFAULT_SPLITS: Splits = MappingProxyType(
    {"train": tuple(map(_conversation, range(32))), "test": tuple(map(_conversation, range(32, 40)))}
)
"""The rows of a noop dataset that was given none."""


def datasets(
    *, rows: Sequence[Row] | Splits | None = None, names: Collection[str] | None = None, blobs: Blobs | None = None
) -> Handlers[DatasetStore]:
    """Handle datasets with rows in memory. `DatasetConfig.options` are not looked at.

    Args:
        rows: the rows of the split `train` (`test` then has the same), or the rows of each split by name, or None for
            32 conversations to train on and 8 to test on.
        names: the datasets that exist, any name when None.
        blobs: a name that is a blob's path here stands for the JSON lines in it, in the split `train`.
    """
    splits = DEFAULT_SPLITS if rows is None else rows if isinstance(rows, Mapping) else {"train": rows, "test": rows}
    held = {split: tuple(some) for split, some in splits.items()}

    def read_split(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
        if blobs is not None and config.name in blobs.held:
            return _rows_of(config, blobs.held[config.name])
        if names is not None and config.name not in names:
            fix = f"this noop store has {', '.join(names) or 'none'}"
            return Failure(NotFound(kind="dataset", name=config.name, fix=fix))
        return _split_of(config, held)

    return DatasetStore.handled_by(RowStore(read_split))


def _split_of(config: DatasetConfig, splits: Mapping[str, tuple[Row, ...]]) -> Result[tuple[Row, ...], TrainError]:
    if config.split not in splits:
        name, fix = f"{config.name}/{config.split}", f"it has {', '.join(splits)}"
        return Failure(NotFound(kind="split", name=name, fix=fix))
    return Success(splits[config.split])


def _rows_of(config: DatasetConfig, data: bytes) -> Result[tuple[Row, ...], TrainError]:
    try:
        rows = tuple(map(json.loads, data.splitlines()))
    except ValueError as error:
        return Failure(StorageFailed(path=config.name, message=f"these are no JSON lines: {error}"))
    return _split_of(config, {"train": rows})
