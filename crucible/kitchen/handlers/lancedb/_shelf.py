"""Collections as LanceDB tables. No text of the caller's is in any statement: ids and metadata are asked for in hexadecimal."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import lancedb
import numpy as np
import pyarrow as pa
from lancedb.query import LanceVectorQueryBuilder
from lancedb.table import Table

from crucible.kitchen.handlers.exact_vectors.cosines import Doubles, Singles, margin, ranked, units
from crucible.kitchen.handlers.files import RefusedError
from crucible.kitchen.handlers.lancedb._marks import key_of, marks_of, meeting
from crucible.kitchen.handlers.shelves import Matches
from crucible.train.errors import StorageFailed
from crucible.train.types import Condition, Match, Vector, VectorCollection, VectorRow

_OURS = b"crucible.collection"
_PREFIX = "collection-"
_COMMITS_A_CLEANING = 64
"""Commits after which small files are made one: each makes a search a little slower."""

_SPARE_ROWS = 16
"""Rows asked for beyond those wanted, so that one question mostly shows that none is missing."""


class LanceShelf:
    """A LanceDB database in a folder. A table is named by the hash of its collection's name, which is in its schema."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with about(path):
            self._database = lancedb.connect(path)

    def find(self, name: str) -> "LanceCollection | None":
        """Find a collection."""
        with about(self._path):
            return self._opened(_table_name(name)) if _table_name(name) in self._tables() else None

    def make(self, collection: VectorCollection) -> None:
        """Make an empty collection."""
        told = json.dumps(attrs.asdict(collection)).encode()
        with about(self._path):
            self._database.create_table(
                _table_name(collection.name), schema=_schema(collection.dimension).with_metadata({_OURS: told})
            )

    def drop(self, name: str) -> None:
        """Delete a collection, if it is there."""
        with about(self._path):
            if _table_name(name) in self._tables():
                self._database.drop_table(_table_name(name))

    def collections(self) -> Iterable[VectorCollection]:
        """Give all collections."""
        with about(self._path):
            found = [self._opened(name) for name in self._tables()]
        return [held.collection for held in found if held is not None]

    def _tables(self) -> set[str]:
        return {file.stem for file in self._path.glob(f"{_PREFIX}*.lance")}

    def _opened(self, name: str) -> "LanceCollection | None":
        table = self._database.open_table(name)
        told = (table.schema.metadata or {}).get(_OURS)
        return None if told is None else LanceCollection(VectorCollection(**json.loads(told)), table, self._path)


@attrs.frozen
class LanceCollection:
    """A collection in a table."""

    collection: VectorCollection
    table: Table
    path: Path

    def upsert(self, rows: Sequence[VectorRow]) -> None:
        """Write rows in one commit; of two with one id the last counts."""
        last = list({row.id: row for row in rows}.values())
        vectors_ND = np.array([row.vector for row in last], dtype=np.float64)
        schema = _schema(self.collection.dimension)
        batch = pa.table(
            {
                "key": [key_of(row.id) for row in last],
                "row": [_written(row) for row in last],
                "marks": [marks_of(row.metadata) for row in last],
                "unit": _column(units(vectors_ND).astype(np.float32)),
                "vector": _column(vectors_ND),
            },
            schema=schema,
        )
        with about(self.path):
            writing = self.table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
            version = writing.execute(batch).version
        if version % _COMMITS_A_CLEANING == 0:
            with suppress(OSError, RuntimeError, ValueError):  # the rows are written; the next cleaning tries again
                self.table.optimize()

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the rows that are there."""
        with about(self.path):
            self.table.delete(f"key IN ({', '.join(repr(key_of(row_id)) for row_id in ids)})")

    def nearest(self, vectors: Sequence[Vector], num_results: int, where: Sequence[Condition]) -> Matches:
        """Find the rows most similar to each vector, ties by id."""
        with about(self.path):
            return tuple(self._nearest(vector, num_results, where) for vector in vectors)

    def count(self) -> int:
        """Count the rows."""
        with about(self.path):
            return int(self.table.count_rows())

    def _nearest(self, vector: Vector, num_results: int, where: Sequence[Condition]) -> tuple[Match, ...]:
        question_D = np.array(vector, dtype=np.float64)
        asked = units(question_D[None])[0].astype(np.float32)
        num_asked = num_results + _SPARE_ROWS
        while True:
            found = self._search(asked, num_asked, where)
            rows = [_read(row) for row in found["row"].to_pylist()]
            fits = [at for at, row in enumerate(rows) if all(condition.fits(row.metadata) for condition in where)]
            distances = found["_distance"].to_numpy()
            is_all = len(rows) < num_asked
            if is_all or (len(fits) >= num_results and self._is_certain(distances, fits[num_results - 1])):
                return _best(found, rows, fits, question_D)[:num_results]
            num_asked *= 4

    def _is_certain(self, distances: Singles, last: int) -> bool:
        return bool(distances[-1] - distances[last] > margin(self.collection.dimension))

    def _search(self, asked: Singles, limit: int, where: Sequence[Condition]) -> pa.Table:
        search = self.table.search(asked, vector_column_name="unit").limit(limit)
        assert isinstance(search, LanceVectorQueryBuilder)  # the one for an array of numbers
        search.distance_type("cosine")
        having = meeting(where)
        if having is not None:
            search = search.where(having, prefilter=True)
        return search.select(["row", "vector", "_distance"]).to_arrow().sort_by("_distance")


def _best(found: pa.Table, rows: Sequence[VectorRow], fits: Sequence[int], question_D: Doubles) -> tuple[Match, ...]:
    if not fits:
        return ()
    kept = [rows[at] for at in fits]
    vectors_ND = np.array(found["vector"].take(fits).to_pylist(), dtype=np.float64)
    return tuple(
        Match(row=attrs.evolve(kept[at], vector=tuple(vectors_ND[at].tolist())), similarity=cosine)
        for at, cosine in ranked([row.id for row in kept], vectors_ND, question_D)
    )


def _schema(dimension: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("row", pa.string(), nullable=False),
            pa.field("marks", pa.list_(pa.string())),
            pa.field("unit", pa.list_(pa.float32(), dimension)),
            pa.field("vector", pa.list_(pa.float64(), dimension)),
        ]
    )


def _column(numbers_ND: Doubles | Singles) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers_ND.ravel()), numbers_ND.shape[1])


def _written(row: VectorRow) -> str:
    return json.dumps({"id": row.id, "text": row.text, "metadata": dict(row.metadata)})


def _read(row: str) -> VectorRow:
    return VectorRow(vector=(), **json.loads(row))


def _table_name(name: str) -> str:
    return _PREFIX + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:40]


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Say of what goes wrong inside that it is about the database in `path`.

    Raises: RefusedError in the place of what LanceDB raises.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        fix = "look at the folder, its rights and the space left"
        raise RefusedError(StorageFailed(path=str(path), message=str(error).splitlines()[0], fix=fix)) from error
    except RefusedError:
        raise
    except Exception as error:  # its JSON is of something else, or LanceDB's native part gave up
        fix = "bring it back from a copy, or delete it and make it anew"
        raise RefusedError(StorageFailed(path=str(path), message=f"it is damaged ({error})", fix=fix)) from error
