"""Rows of Arrow tables on disk, read where they are wanted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._errors import Refused
from crucible.kitchen.handlers.hf._lines import TextRows
from crucible.kitchen.handlers.hf._sources import reading, saved_split, source_of
from crucible.kitchen.handlers.rows import ManyRows
from crucible.train.errors import TrainError
from crucible.train.types import DatasetConfig, Row

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class TableRows(ManyRows):
    """The rows of a dataset of the library, which keeps them in a file that is mapped to memory."""

    def __init__(self, dataset: "Dataset", name: str) -> None:
        self._dataset = undecoded(dataset)
        self._name = name

    def __len__(self) -> int:
        return int(self._dataset.num_rows)

    def pick(self, indices: Sequence[int]) -> Result[tuple[Row, ...], TrainError]:
        """Read the rows at `indices`."""
        try:
            with reading(self._name):
                return Success(rows_of_columns(self._dataset[indices if isinstance(indices, range) else list(indices)]))
        except Refused as refused:
            return Failure(refused.error)


def read_table(config: DatasetConfig, hf: HfConfig) -> ManyRows:
    """Read a split; its files are fetched once, and what is no text is turned into a table once."""
    saved = saved_split(config)
    if saved is not None:
        return TableRows(saved, config.name)
    source = source_of(config, hf)
    files = source.local_files()
    if source.is_lines:
        return TextRows(files, source.kind)
    with reading(config.name):
        builder = source.builder(config.split, files, None if hf.cache is None else Path(hf.cache) / "datasets")
        builder.download_and_prepare()
        return TableRows(builder.as_dataset(split=config.split), config.name)


def rows_of_columns(columns: Mapping[str, Sequence[object]]) -> tuple[Row, ...]:
    """Turn columns into rows.

    >>> rows_of_columns({"a": [1, 2], "b": ["x", "y"]})
    ({'a': 1, 'b': 'x'}, {'a': 2, 'b': 'y'})
    """
    return tuple(dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def undecoded(dataset: "Dataset | IterableDataset") -> "Dataset | IterableDataset":
    """Have images and sounds as the bytes that are stored, not as objects of other libraries."""
    for name, feature in (dataset.features or {}).items():
        if getattr(feature, "decode", False):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset
