"""What the vector stores here do alike: checks, errors, threads. What keeps the rows is a `Shelf`."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Protocol, TypeAlias, TypeVar

import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.files import RefusedError
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, TrainError
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, MetadataValue, Vector, VectorCollection, VectorRow

T = TypeVar("T")
Matches: TypeAlias = tuple[tuple[Match, ...], ...]


class Held(Protocol):
    """A collection on a shelf; what it is given has been checked. Expected failures are raised as RefusedError."""

    @property
    def collection(self) -> VectorCollection:
        """What the collection was made as."""

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Write rows, all or none; of two with one id the last counts."""

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows that are there."""

    def nearest(self, vectors: Sequence[Vector], num_results: int, where: Sequence[Condition]) -> Matches:
        """Find the rows most similar to each vector, ties by id."""

    def count(self) -> int:
        """Count the rows."""


class Shelf(Protocol):
    """Where collections are kept. Expected failures are raised as RefusedError."""

    def find(self, name: str) -> Held | None:
        """Find a collection."""

    def make(self, collection: VectorCollection) -> None:
        """Make an empty collection, whose name is free."""

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""

    def collections(self) -> Iterable[VectorCollection]:
        """Give all collections, in any order."""


class ShelvedVectors(VectorStore):
    """A `VectorStore` on a shelf, one operation at a time.

    Args:
        open_shelf: is called once, by the first operation.
        packages: that must be there first, each with the extra that brings it.
        threaded: whether the work is done in a thread, because it takes long.
    """

    def __init__(
        self, open_shelf: Callable[[], Shelf], *, packages: Mapping[str, str] | None = None, threaded: bool = True
    ) -> None:
        self._open_shelf = open_shelf
        self._packages = packages or {}
        self._threaded = threaded
        self._shelf: Shelf | None = None
        self._lock = threading.Lock()

    async def create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        def made(shelf: Shelf) -> VectorCollection:
            if shelf.find(name) is not None:
                fix = "use get_or_create_collection, or another name"
                raise RefusedError(InvalidRequest(message=f"there is a collection {name!r} already", fix=fix))
            return _made(shelf, name, dimension, metadata)

        return await self._done(made)

    async def get_collection(self, name: str) -> Result[VectorCollection, TrainError]:
        return await self._done(lambda shelf: _held(shelf, name).collection)

    async def get_or_create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        def found_or_made(shelf: Shelf) -> VectorCollection:
            held = shelf.find(name)
            if held is None:
                return _made(shelf, name, dimension, metadata)
            if held.collection.dimension != dimension:
                message = f"collection {name!r} has dimension {held.collection.dimension}, not {dimension}"
                fix = "use another name, or the same embeddings as before"
                raise RefusedError(InvalidRequest(message=message, fix=fix))
            return held.collection

        return await self._done(found_or_made)

    async def delete_collection(self, name: str) -> Result[None, TrainError]:
        return await self._done(lambda shelf: shelf.drop(name))

    async def list_collections(self) -> Result[tuple[VectorCollection, ...], TrainError]:
        return await self._done(lambda shelf: tuple(sorted(shelf.collections(), key=lambda each: each.name)))

    async def upsert(self, collection: str, rows: Sequence[VectorRow]) -> Result[None, TrainError]:
        def written(shelf: Shelf) -> None:
            held = _held(shelf, collection)
            _check([row.vector for row in rows], held.collection)
            if rows:
                held.upsert(rows)

        return await self._done(written)

    async def query(
        self, collection: str, vectors: Sequence[Vector], *, num_results: int = 10, where: Sequence[Condition] = ()
    ) -> Result[tuple[tuple[Match, ...], ...], TrainError]:
        def found(shelf: Shelf) -> Matches:
            held = _held(shelf, collection)
            _check(vectors, held.collection)
            if num_results < 1:
                raise RefusedError(InvalidRequest(message=f"num_results is {num_results}", fix="ask for at least 1"))
            return held.nearest(vectors, num_results, where) if vectors else ()

        return await self._done(found)

    async def delete_rows(self, collection: str, ids: Sequence[str]) -> Result[None, TrainError]:
        def deleted(shelf: Shelf) -> None:
            held = _held(shelf, collection)
            if ids:
                held.delete(ids)

        return await self._done(deleted)

    async def count(self, collection: str) -> Result[int, TrainError]:
        return await self._done(lambda shelf: _held(shelf, collection).count())

    async def _done(self, work: Callable[[Shelf], T]) -> Result[T, TrainError]:
        for package, extra in self._packages.items():
            if find_spec(package) is None:
                return Failure(MissingExtra(extra=extra, package=package))
        return await anyio.to_thread.run_sync(self._locked, work) if self._threaded else self._locked(work)

    def _locked(self, work: Callable[[Shelf], T]) -> Result[T, TrainError]:
        with self._lock:
            try:
                self._shelf = self._shelf or self._open_shelf()
                return Success(work(self._shelf))
            except RefusedError as refused:
                return Failure(refused.error)


def _made(shelf: Shelf, name: str, dimension: int, metadata: Mapping[str, MetadataValue] | None) -> VectorCollection:
    if not name or dimension < 1:
        message = f"a collection needs a name and a dimension of at least 1, not {name!r} and {dimension}"
        raise RefusedError(InvalidRequest(message=message))
    collection = VectorCollection(name=name, dimension=dimension, metadata=metadata or {})
    shelf.make(collection)
    return collection


def _held(shelf: Shelf, name: str) -> Held:
    held = shelf.find(name)
    if held is None:
        there = ", ".join(sorted(each.name for each in shelf.collections())) or "none"
        fix = f"make it with create_collection; there are {there}"
        raise RefusedError(NotFound(kind="collection", name=name, fix=fix))
    return held


def _check(vectors: Sequence[Vector], collection: VectorCollection) -> None:
    for index, vector in enumerate(vectors):
        if len(vector) != collection.dimension:
            message = f"a vector has dimension {len(vector)}, the collection {collection.dimension}"
            fix = "embed everything with one model"
            raise RefusedError(InvalidRequest(message=message, fix=fix, index=index))
        if not all(map(math.isfinite, vector)) or not any(vector):
            message = "a vector has no direction: it is all zeros, or not finite"
            raise RefusedError(InvalidRequest(message=message, index=index))
