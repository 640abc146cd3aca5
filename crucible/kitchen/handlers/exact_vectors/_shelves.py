"""Collections as numpy arrays: in memory, or in memory and in a folder."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TypeVar
from zipfile import BadZipFile

import attrs
import numpy as np
from numpy.lib.npyio import NpzFile

from crucible.kitchen.handlers.exact_vectors.cosines import Doubles, Places, Singles, ranked, shortlist, units
from crucible.kitchen.handlers.files import RefusedError, about_file, replacing
from crucible.kitchen.handlers.shelves import Matches
from crucible.storage import sync
from crucible.train.errors import StorageFailed
from crucible.train.types import Condition, Match, Vector, VectorCollection, VectorRow

T = TypeVar("T")


class ArrayCollection:
    """A collection in arrays that grow by doubling; the place of a deleted row is taken by the last one."""

    def __init__(self, collection: VectorCollection) -> None:
        self.collection = collection
        self._rows: list[VectorRow] = []  # without their vectors, which are in the arrays
        self._places: dict[str, int] = {}
        self._vectors_ND: Doubles = np.empty((0, collection.dimension))
        self._units_ND: Singles = np.empty((0, collection.dimension), dtype=np.float32)

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Write rows; of two with one id the last counts."""
        self.put(rows, np.array([row.vector for row in rows], dtype=np.float64))

    def put(self, rows: Sequence[VectorRow], vectors_ND: Doubles) -> None:
        """Write rows whose vectors are in an array."""
        self._reserve(len(self._rows) + len(rows))
        places: list[int] = []
        for row in rows:
            place = self._places.setdefault(row.id, len(self._rows))
            self._rows[place : place + 1] = [attrs.evolve(row, vector=())]
            places.append(place)
        last = dict(zip(places, range(len(places)), strict=True))
        into, taken = list(last), list(last.values())
        self._vectors_ND[into] = vectors_ND[taken]
        self._units_ND[into] = units(vectors_ND[taken])

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows that are there."""
        for row_id in ids:
            place = self._places.pop(row_id, None)
            if place is None:
                continue
            moved = self._rows.pop()
            if place < len(self._rows):
                self._rows[place] = moved
                self._places[moved.id] = place
                self._vectors_ND[place] = self._vectors_ND[len(self._rows)]
                self._units_ND[place] = self._units_ND[len(self._rows)]

    def nearest(self, vectors: Sequence[Vector], num_results: int, where: Sequence[Condition]) -> Matches:
        """Find the rows most similar to each vector, ties by id."""
        units_ND, fitting = self._units_ND[: len(self._rows)], None
        if where:
            fits = [all(condition.fits(row.metadata) for condition in where) for row in self._rows]
            fitting = np.flatnonzero(fits)
            units_ND = units_ND[fitting]
        questions_QD = np.array(vectors, dtype=np.float64)
        asked_QD = units(questions_QD).astype(np.float32)
        matches = []
        for question_D, asked_D in zip(questions_QD, asked_QD, strict=True):
            places = shortlist(units_ND, asked_D, num_results)
            matches.append(self._best(places if fitting is None else fitting[places], question_D, num_results))
        return tuple(matches)

    def count(self) -> int:
        """Count the rows."""
        return len(self._rows)

    def write(self, file: IO[bytes]) -> None:
        """Write everything to a file."""
        rows = [[row.id, row.text, dict(row.metadata)] for row in self._rows]
        np.savez(
            file,
            collection=_bytes(attrs.asdict(self.collection)),
            rows=_bytes(rows),
            vectors=self._vectors_ND[: len(rows)],
        )

    @classmethod
    def read(cls, content: NpzFile) -> "ArrayCollection":
        """Read what `write` wrote."""
        held = cls(_collection(content))
        rows = json.loads(content["rows"].tobytes())
        held.put(
            [VectorRow(id=row_id, vector=(), text=text, metadata=metadata) for row_id, text, metadata in rows],
            content["vectors"].reshape(len(rows), held.collection.dimension),
        )
        return held

    def _best(self, places: Places, question_D: Doubles, num_results: int) -> tuple[Match, ...]:
        if not places.size:
            return ()
        rows = [self._rows[place] for place in places]
        order = ranked([row.id for row in rows], self._vectors_ND[places], question_D)[:num_results]
        return tuple(
            Match(row=attrs.evolve(rows[at], vector=tuple(self._vectors_ND[places[at]].tolist())), similarity=cosine)
            for at, cosine in order
        )

    def _reserve(self, num_rows: int) -> None:
        missing = num_rows - len(self._vectors_ND)
        if missing > 0:
            more = max(missing, len(self._vectors_ND))
            self._vectors_ND = np.pad(self._vectors_ND, ((0, more), (0, 0)))
            self._units_ND = np.pad(self._units_ND, ((0, more), (0, 0)))


class MemoryShelf:
    """A shelf that lives as long as it is used."""

    def __init__(self) -> None:
        self._held: dict[str, ArrayCollection] = {}

    def find(self, name: str) -> ArrayCollection | None:
        """Find a collection."""
        return self._held.get(name)

    def make(self, collection: VectorCollection) -> None:
        """Make an empty collection."""
        self._held[collection.name] = ArrayCollection(collection)

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""
        self._held.pop(name, None)

    def collections(self) -> Iterable[VectorCollection]:
        """Give all collections."""
        return [held.collection for held in self._held.values()]


class FolderShelf:
    """A shelf in a folder: one file a collection, named by the hash of its name, read when it is first used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, _Kept] = {}

    def find(self, name: str) -> "_Kept | None":
        """Find a collection."""
        file = self._file(name)
        if name not in self._held and file.exists():
            self._held[name] = _Kept(self, _read(file, ArrayCollection.read))
        return self._held.get(name)

    def make(self, collection: VectorCollection) -> None:
        """Make an empty collection."""
        with about_file(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
        self.save(ArrayCollection(collection))

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""
        file = self._file(name)
        self._held.pop(name, None)
        with about_file(file):
            file.unlink(missing_ok=True)
            if self._path.exists():
                sync(self._path)

    def collections(self) -> Iterable[VectorCollection]:
        """Give all collections."""
        return [_read(file, _collection) for file in self._path.glob("*.npz")]

    def save(self, held: ArrayCollection) -> None:
        """Write a collection's file. When that fails, the old one counts: it is read again."""
        file = self._file(held.collection.name)
        self._held.pop(held.collection.name, None)
        with replacing(file) as part, about_file(file), part.open("wb") as new:
            held.write(new)
        with about_file(file):
            sync(self._path)
        self._held[held.collection.name] = _Kept(self, held)

    def _file(self, name: str) -> Path:
        return self._path / f"{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}.npz"


@attrs.frozen
class _Kept:
    """A collection that is saved after each change."""

    shelf: FolderShelf
    held: ArrayCollection

    @property
    def collection(self) -> VectorCollection:
        return self.held.collection

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        self.held.upsert(rows)
        self.shelf.save(self.held)

    def delete(self, ids: Sequence[str]) -> None:
        self.held.delete(ids)
        self.shelf.save(self.held)

    def nearest(self, vectors: Sequence[Vector], num_results: int, where: Sequence[Condition]) -> Matches:
        return self.held.nearest(vectors, num_results, where)

    def count(self) -> int:
        return self.held.count()


def _read(file: Path, read: Callable[[NpzFile], T]) -> T:
    try:
        with about_file(file), file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            return read(content)
    except (BadZipFile, AttributeError, KeyError, ValueError, EOFError) as error:
        raise _damaged(file) from error


def _damaged(file: Path) -> RefusedError:
    fix = "move the file away, or bring it back from a copy"
    return RefusedError(StorageFailed(path=str(file), message="it holds no collection of vectors", fix=fix))


def _collection(content: NpzFile) -> VectorCollection:
    return VectorCollection(**json.loads(content["collection"].tobytes()))


def _bytes(value: object) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)
