"""Rows of Arrow tables on disk, read where they are wanted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._sources import reading, saved_split, source_of
from crucible.kitchen.handlers.rows import ManyRows
from crucible.train.types import DatasetConfig, Row

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class TableRows(ManyRows):
    """The rows of a dataset of the library, which keeps them in a file that is mapped to memory."""

    def __init__(self, dataset: "Dataset") -> None:
        self._dataset = undecoded(dataset)

    def __len__(self) -> int:
        return int(self._dataset.num_rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return self.pick(range(len(self))[index])
        return self.pick([range(len(self))[index]])[0]

    def pick(self, indices: Sequence[int]) -> tuple[Row, ...]:
        """Read the rows at `indices`."""
        return rows_of_columns(self._dataset[indices if isinstance(indices, range) else list(indices)])


def read_table(config: DatasetConfig, hf: HfConfig) -> TableRows:
    """Read a split; its files are fetched once, and turned into a table once."""
    saved = saved_split(config)
    if saved is not None:
        return TableRows(saved)
    source = source_of(config, hf)
    files = source.local_files()
    with reading(config.name):
        builder = source.builder(config.split, files, None if hf.cache is None else Path(hf.cache) / "datasets")
        builder.download_and_prepare()
        return TableRows(builder.as_dataset(split=config.split))


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
