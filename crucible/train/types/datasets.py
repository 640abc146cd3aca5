"""Rows, and handles to datasets that a store keeps."""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from crucible.fields import NOT_EMPTY, checked

Row: TypeAlias = Mapping[str, object]
"""One example as it is stored: column name to JSON-like value."""


@attrs.frozen(kw_only=True, field_transformer=checked)
class DatasetConfig:
    """Which dataset to load.

    `name` is a hub id, a local file or a task's name; each handler says which it takes. `options` go to the handler.
    """

    name: str = attrs.field(metadata=NOT_EMPTY)
    split: str = attrs.field(default="train", metadata=NOT_EMPTY)
    config: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    revision: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
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
