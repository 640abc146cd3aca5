"""`VectorStore` on nothing: exact cosine search in memory."""

import math
from collections.abc import Mapping, Sequence

from crucible.effects import Failure, Handlers, Result, Success
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, MetadataValue, Vector, VectorCollection, VectorRow


def vectors() -> Handlers[VectorStore]:
    """Handle vectors with a store that lives as long as these handlers."""
    return VectorStore.handled_by(_Vectors())


class _Held:
    """A collection and its rows, by id."""

    def __init__(self, collection: VectorCollection) -> None:
        self.collection = collection
        self.rows: dict[str, VectorRow] = {}


class _Vectors(VectorStore):
    """A `VectorStore` over dicts."""

    def __init__(self) -> None:
        self._collections: dict[str, _Held] = {}

    async def create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        if name in self._collections:
            fix = "use get_or_create_collection, or another name"
            return Failure(InvalidRequest(message=f"there is a collection {name!r} already", fix=fix))
        return self._made(name, dimension, metadata)

    async def get_collection(self, name: str) -> Result[VectorCollection, TrainError]:
        return self._find(name).map(lambda held: held.collection)

    async def get_or_create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        held = self._collections.get(name)
        if held is None:
            return self._made(name, dimension, metadata)
        if held.collection.dimension != dimension:
            message = f"collection {name!r} has dimension {held.collection.dimension}, not {dimension}"
            return Failure(InvalidRequest(message=message, fix="use another name, or the same embeddings as before"))
        return Success(held.collection)

    async def delete_collection(self, name: str) -> Result[None, TrainError]:
        self._collections.pop(name, None)
        return Success(None)

    async def list_collections(self) -> Result[tuple[VectorCollection, ...], TrainError]:
        return Success(tuple(held.collection for _, held in sorted(self._collections.items())))

    async def upsert(self, collection: str, rows: Sequence[VectorRow]) -> Result[None, TrainError]:
        def written(held: _Held) -> Result[None, TrainError]:
            problem = _problem([row.vector for row in rows], held.collection)
            if problem is not None:
                return Failure(problem)
            held.rows.update((row.id, row) for row in rows)
            return Success(None)

        return self._find(collection).bind(written)

    async def query(
        self, collection: str, vectors: Sequence[Vector], *, num_results: int = 10, where: Sequence[Condition] = ()
    ) -> Result[tuple[tuple[Match, ...], ...], TrainError]:
        def found(held: _Held) -> Result[tuple[tuple[Match, ...], ...], TrainError]:
            problem = _problem(vectors, held.collection)
            if problem is not None:
                return Failure(problem)
            if num_results < 1:
                return Failure(InvalidRequest(message=f"num_results is {num_results}", fix="ask for at least 1"))
            rows = [row for row in held.rows.values() if all(condition.fits(row.metadata) for condition in where)]
            return Success(tuple(_nearest(vector, rows)[:num_results] for vector in vectors))

        return self._find(collection).bind(found)

    async def delete_rows(self, collection: str, ids: Sequence[str]) -> Result[None, TrainError]:
        def deleted(held: _Held) -> None:
            for row_id in ids:
                held.rows.pop(row_id, None)

        return self._find(collection).map(deleted)

    async def count(self, collection: str) -> Result[int, TrainError]:
        return self._find(collection).map(lambda held: len(held.rows))

    def _made(
        self, name: str, dimension: int, metadata: Mapping[str, MetadataValue] | None
    ) -> Result[VectorCollection, TrainError]:
        if not name or dimension < 1:
            message = f"a collection needs a name and a dimension of at least 1, not {name!r} and {dimension}"
            return Failure(InvalidRequest(message=message))
        collection = VectorCollection(name=name, dimension=dimension, metadata=metadata or {})
        self._collections[name] = _Held(collection)
        return Success(collection)

    def _find(self, name: str) -> Result[_Held, TrainError]:
        held = self._collections.get(name)
        if held is None:
            fix = f"make it with create_collection; there are {', '.join(sorted(self._collections)) or 'none'}"
            return Failure(NotFound(kind="collection", name=name, fix=fix))
        return Success(held)


def cosine(first: Vector, second: Vector) -> float:
    """Give the cosine of the angle between two vectors of one dimension and some length.

    >>> cosine((1.0, 0.0), (2.0, 0.0)), cosine((1.0, 0.0), (0.0, 3.0))
    (1.0, 0.0)
    """
    along = math.sumprod(first, second) if hasattr(math, "sumprod") else _sumprod(first, second)
    return max(-1.0, min(1.0, along / (math.hypot(*first) * math.hypot(*second))))


def _sumprod(first: Vector, second: Vector) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def _nearest(vector: Vector, rows: Sequence[VectorRow]) -> tuple[Match, ...]:
    matches = [Match(row=row, similarity=cosine(vector, row.vector)) for row in rows]
    return tuple(sorted(matches, key=lambda match: (-match.similarity, match.row.id)))


def _problem(vectors: Sequence[Vector], collection: VectorCollection) -> TrainError | None:
    for index, vector in enumerate(vectors):
        if len(vector) != collection.dimension:
            message = f"a vector has dimension {len(vector)}, the collection {collection.dimension}"
            return InvalidRequest(message=message, fix="embed everything with one model", index=index)
        if not all(map(math.isfinite, vector)) or not any(vector):
            return InvalidRequest(message="a vector has no direction: it is all zeros, or not finite", index=index)
    return None
