"""Vectors, the collections that keep them, and what is asked of those."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

Vector: TypeAlias = tuple[float, ...]
MetadataValue: TypeAlias = str | int | float | bool


def _plain(value: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    return dict(value)


@attrs.frozen(kw_only=True)
class VectorCollection:
    """A named collection of vectors of one dimension."""

    name: str = attrs.field(validator=attrs.validators.min_len(1))
    dimension: int = attrs.field(validator=attrs.validators.ge(1))
    metadata: Mapping[str, MetadataValue] = attrs.field(factory=dict, converter=_plain)


@attrs.frozen(kw_only=True)
class VectorRow:
    """A vector with what it stands for. A row written under the same id takes the place of the one before."""

    id: str = attrs.field(validator=attrs.validators.min_len(1))
    vector: Vector
    text: str = ""
    metadata: Mapping[str, MetadataValue] = attrs.field(factory=dict, converter=_plain)


@attrs.frozen(kw_only=True)
class Match:
    """A row that was found, and its cosine similarity to what was asked, from -1 to 1."""

    row: VectorRow
    similarity: float


@attrs.frozen(kw_only=True)
class Condition:
    """What a row's metadata must say: `key` compared with `value`. A row without the key never fits, `ne` included."""

    key: str
    op: Literal["eq", "ne", "lt", "le", "gt", "ge"]
    value: MetadataValue

    def fits(self, metadata: Mapping[str, MetadataValue]) -> bool:
        """Tell whether metadata meet the condition; text and numbers have no order between them.

        >>> Condition(key="year", op="ge", value=2020).fits({"year": 2024})
        True
        >>> Condition(key="year", op="ge", value=2020).fits({"year": "2024"})
        False
        """
        if self.key not in metadata:
            return False
        found, wanted = metadata[self.key], self.value
        if isinstance(found, str) and isinstance(wanted, str):
            above, below = found > wanted, found < wanted
        elif isinstance(found, str) or isinstance(wanted, str):
            return self.op == "ne"
        else:
            above, below = found > wanted, found < wanted
        same = found == wanted
        return {"eq": same, "ne": not same, "lt": below, "le": below or same, "gt": above, "ge": above or same}[self.op]
