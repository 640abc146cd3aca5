"""Rows, and handles to datasets that a store keeps."""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

Row: TypeAlias = Mapping[str, object]
"""One example as it is stored: column name to JSON-like value."""


@attrs.frozen(kw_only=True)
class DatasetConfig:
    """Which dataset to load.

    `name` is a hub id, a local file or a task's name; each handler says which it takes. `options` go to the handler.
    """

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    split: str = "train"
    config: str | None = None
    revision: str | None = None
    streaming: bool = False
    options: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Dataset:
    """A handle to rows in a store. `num_rows` is None where only reading to the end would tell."""

    id: str
    name: str
    split: str
    num_rows: int | None


@attrs.frozen(kw_only=True)
class RowBatch:
    """Rows in order, and the position after them: text to keep, with which reading goes on in another process too."""

    rows: tuple[Row, ...]
    position: str
