"""`VectorStore` on nothing: exact cosine search in memory."""

import math
from collections.abc import Iterable, Sequence

from crucible.effects import Handlers
from crucible.kitchen.handlers.shelves import Matches, ShelvedVectors
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, Vector, VectorCollection, VectorRow


def vectors() -> Handlers[VectorStore]:
    """Handle vectors with a store that lives as long as these handlers."""
    return VectorStore.handled_by(ShelvedVectors(_Dicts, threaded=False))


class _Held:
    """A collection and its rows, by id."""

    def __init__(self, collection: VectorCollection) -> None:
        self.collection = collection
        self._rows: dict[str, VectorRow] = {}

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        self._rows.update((row.id, row) for row in rows)

    def delete(self, ids: Sequence[str]) -> None:
        for row_id in ids:
            self._rows.pop(row_id, None)

    def nearest(self, vectors: Sequence[Vector], num_results: int, where: Sequence[Condition]) -> Matches:
        rows = [row for row in self._rows.values() if all(condition.fits(row.metadata) for condition in where)]
        return tuple(_nearest(vector, rows)[:num_results] for vector in vectors)

    def count(self) -> int:
        return len(self._rows)


class _Dicts:
    """A shelf of dicts."""

    def __init__(self) -> None:
        self._collections: dict[str, _Held] = {}

    def find(self, name: str) -> _Held | None:
        return self._collections.get(name)

    def make(self, collection: VectorCollection) -> None:
        self._collections[collection.name] = _Held(collection)

    def drop(self, name: str) -> None:
        self._collections.pop(name, None)

    def collections(self) -> Iterable[VectorCollection]:
        return [held.collection for held in self._collections.values()]


def cosine(first: Vector, second: Vector) -> float:
    """Give the cosine of the angle between two vectors of one dimension and some length.

    >>> cosine((1.0, 0.0), (2.0, 0.0)), cosine((1.0, 0.0), (0.0, 3.0))
    (1.0, 0.0)
    """
    first, second = _near_one(first), _near_one(second)
    along = math.sumprod(first, second) if hasattr(math, "sumprod") else _sumprod(first, second)
    return max(-1.0, min(1.0, along / (math.hypot(*first) * math.hypot(*second))))


def _near_one(vector: Vector) -> Vector:
    """Scale a vector by a power of two, so that no product of its numbers is too large or too small."""
    _, exponent = math.frexp(max(map(abs, vector)))
    return tuple(math.ldexp(number, -exponent) for number in vector)


def _sumprod(first: Vector, second: Vector) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _nearest(vector: Vector, rows: Sequence[VectorRow]) -> tuple[Match, ...]:
    matches = [Match(row=row, similarity=cosine(vector, row.vector)) for row in rows]
    return tuple(sorted(matches, key=lambda match: (-match.similarity, match.row.id)))
