"""`DatasetStore` on nothing: rows given in memory, or conversations made up for the purpose."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.rows import RowStore
from crucible.train.errors import NotFound, TrainError
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
    *, rows: Sequence[Row] | Splits | None = None, names: Sequence[str] | None = None
) -> Handlers[DatasetStore]:
    """Handle datasets with rows in memory.

    Args:
        rows: the rows of the split `train` (`test` then has the same), or the rows of each split by name, or None for
            32 conversations to train on and 8 to test on.
        names: the datasets that exist, any name when None. `DatasetConfig.options` are not looked at.
    """
    splits = DEFAULT_SPLITS if rows is None else rows if isinstance(rows, Mapping) else {"train": rows, "test": rows}

    def read_split(config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
        if names is not None and config.name not in names:
            fix = f"this noop store has {', '.join(names) or 'none'}"
            return Failure(NotFound(kind="dataset", name=config.name, fix=fix))
        if config.split not in splits:
            fix = f"it has {', '.join(splits)}"
            return Failure(NotFound(kind="split", name=f"{config.name}/{config.split}", fix=fix))
        return Success(tuple(splits[config.split]))

    return DatasetStore.handled_by(RowStore(read_split))
