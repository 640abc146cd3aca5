"""The contract of `VectorStore`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import obey, refused, require_close, require_equal
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Match, VectorRow

Law: TypeAlias = Do[TrainError, VectorStore, None]

ODD_TEXTS = (
    "it's",
    'say "no"',
    "x' OR '1' = '1",
    "'; DROP TABLE rows; --",
    "50%",
    "a_b",
    "back\\slash",
    "line\nend",
    "né",
    "",
)
"""Texts that a statement made by gluing would take for something else."""

ROWS = (
    VectorRow(id="east", vector=(2.0, 0.0), text="to the east", metadata={"year": 2020, "kind": "main"}),
    VectorRow(id="north", vector=(0.0, 1.0), text="to the north", metadata={"year": 2021, "kind": "main"}),
    VectorRow(id="north-east", vector=(1.0, 1.0), text="between", metadata={"year": 2022, "kind": "mixed"}),
    VectorRow(id="west", vector=(-1.0, 0.0), metadata={"year": 2023.5, "sunset": True}),
)


def check_vector_store(
    make: Callable[[], Handlers[VectorStore]], *, name: str = "contract", tolerance: float = 1e-5
) -> None:
    """Put the handlers that `make` gives through the contract of `VectorStore`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        name: of a collection that is not there, and that each law makes and deletes; `<name>-other` is used likewise.
        tolerance: how far similarities may be apart that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "a collection is what it was made as, until it is deleted": _collections(name),
        "the most similar rows come first, whole, with their cosine": _querying(name, tolerance),
        "conditions leave out what does not meet all of them": _conditions(name),
        "conditions mean what texts say, never what a database would read in them": _odd_texts(name),
        "vectors are compared by direction, however long they are": _lengths(name, tolerance),
        "a row written again takes the place of the first, in one batch too": _replacing(name),
        "a collection knows nothing of another": _apart(name),
        "what is not there is not found": _missing(name),
        "bad vectors are refused, and nothing of their batch is kept": _bad_vectors(name),
    }
    obey(make, laws)


@do
def _filled(name: str) -> Law:
    yield from perform(VectorStore.delete_collection, name)
    yield from perform(VectorStore.create_collection, name, dimension=2)
    yield from perform(VectorStore.upsert, name, ROWS)


@do
def _collections(name: str) -> Law:
    made = yield from perform(VectorStore.create_collection, name, dimension=2, metadata={"model": "m"})
    require_equal((made.name, made.dimension, made.metadata), (name, 2, {"model": "m"}), "the collection")
    require_equal((yield from perform(VectorStore.get_collection, name)), made, "the collection found")
    same = yield from perform(VectorStore.get_or_create_collection, name, dimension=2)
    require_equal(same, made, "the collection found or made")
    yield from refused("making it again", perform(VectorStore.create_collection, name, dimension=2), InvalidRequest)
    other = perform(VectorStore.get_or_create_collection, name, dimension=3)
    yield from refused("finding it with another dimension", other, InvalidRequest)
    listed = yield from perform(VectorStore.list_collections)
    require_equal([found for found in listed if found.name == name], [made], "the collection listed")
    for _ in range(2):
        yield from perform(VectorStore.delete_collection, name)
    yield from refused("finding it after deleting it", perform(VectorStore.get_collection, name), NotFound)
    anew = yield from perform(VectorStore.get_or_create_collection, name, dimension=3)
    require_equal((anew.dimension, (yield from perform(VectorStore.count, name))), (3, 0), "the collection made anew")
    yield from perform(VectorStore.delete_collection, name)


@do
def _querying(name: str, tolerance: float) -> Law:
    yield from _filled(name)
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS), "the number of rows")
    first, second = yield from perform(VectorStore.query, name, [(3.0, 0.1), (-1.0, -0.1)], num_results=2)
    require_equal(_ids(first), ["east", "north-east"], "what is most like (3, 0.1)")
    require_equal(_ids(second), ["west", "north"], "what is most like (-1, -0.1)")
    for match in (*first, *second):
        require_equal(match.row, {row.id: row for row in ROWS}[match.row.id], "the row found")
    require_close(first[1].similarity, 3.1 / math.hypot(3, 0.1) / math.sqrt(2), "a cosine", tolerance=tolerance)
    [all_rows] = yield from perform(VectorStore.query, name, [(0.0, 1.0)])
    require_equal(_ids(all_rows), ["north", "north-east", "east", "west"], "all rows, ties by id")
    [cut] = yield from perform(VectorStore.query, name, [(0.0, 1.0)], num_results=3)
    require_equal(_ids(cut), ["north", "north-east", "east"], "the first 3, where the last of them is one of a tie")
    require_equal((yield from perform(VectorStore.query, name, ())), (), "what is most like nothing")
    yield from perform(VectorStore.delete_collection, name)


@do
def _conditions(name: str) -> Law:
    yield from _filled(name)
    wanted = {
        (Condition(key="kind", op="eq", value="main"),): ["east", "north"],
        (Condition(key="kind", op="ne", value="main"),): ["north-east"],
        (Condition(key="year", op="ge", value=2021), Condition(key="year", op="lt", value=2023.5)): [
            "north-east",
            "north",
        ],
        (Condition(key="year", op="gt", value=2023),): ["west"],
        (Condition(key="year", op="le", value=2020),): ["east"],
        (Condition(key="sunset", op="eq", value=True),): ["west"],
        (Condition(key="sunset", op="eq", value=1),): ["west"],
        (Condition(key="sunset", op="ne", value=False),): ["west"],
        (Condition(key="year", op="eq", value=2021.0),): ["north"],
        (Condition(key="year", op="ge", value="2020"),): [],
        (Condition(key="year", op="ne", value="2020"),): ["east", "north-east", "north", "west"],
        (Condition(key="nowhere", op="ne", value=0),): [],
    }
    for where, expected in wanted.items():
        [found] = yield from perform(VectorStore.query, name, [(1.0, 0.1)], where=where)
        require_equal(_ids(found), expected, f"what meets {where}")
        [first] = yield from perform(VectorStore.query, name, [(1.0, 0.1)], where=where, num_results=1)
        require_equal(_ids(first), expected[:1], f"the first that meets {where}")
    yield from perform(VectorStore.delete_collection, name)


@do
def _odd_texts(name: str) -> Law:
    yield from perform(VectorStore.create_collection, name, dimension=2)
    rows = [
        VectorRow(id=f"id {text}", vector=(1.0, index), text=text, metadata={f"key {text}": text, "any": text})
        for index, text in enumerate(ODD_TEXTS)
    ]
    yield from perform(VectorStore.upsert, name, rows)
    for row in rows:
        for key in (f"key {row.text}", "any"):
            where = [Condition(key=key, op="eq", value=row.text)]
            [found] = yield from perform(VectorStore.query, name, [(1.0, 0.0)], where=where)
            require_equal([match.row for match in found], [row], f"what meets {where}")
    for left, row in reversed(list(enumerate(rows))):
        yield from perform(VectorStore.delete_rows, name, [row.id])
        require_equal((yield from perform(VectorStore.count, name)), left, f"the rows left without {row.id!r}")
    yield from perform(VectorStore.delete_collection, name)


@do
def _lengths(name: str, tolerance: float) -> Law:
    yield from perform(VectorStore.create_collection, name, dimension=2)
    vectors = {"long": (3e200, 4e200), "short": (4e-200, -3e-200), "plain": (-1.0, 0.0)}
    rows = [VectorRow(id=row_id, vector=vector) for row_id, vector in vectors.items()]
    yield from perform(VectorStore.upsert, name, rows)
    for length in (1e-200, 1.0, 1e200):
        [found] = yield from perform(VectorStore.query, name, [(length, 0.0)])
        require_equal(_ids(found), ["short", "long", "plain"], f"what is most like ({length}, 0)")
        for match, expected in zip(found, (0.8, 0.6, -1.0), strict=True):
            require_close(match.similarity, expected, f"the cosine of {match.row.id}", tolerance=tolerance)
    yield from perform(VectorStore.delete_collection, name)


@do
def _apart(name: str) -> Law:
    other = f"{name}-other"
    yield from perform(VectorStore.delete_collection, other)
    yield from _filled(name)
    yield from perform(VectorStore.create_collection, other, dimension=3)
    listed = [found.name for found in (yield from perform(VectorStore.list_collections))]
    require_equal(listed, sorted(listed), "the order of the collections")
    yield from perform(VectorStore.upsert, other, [VectorRow(id="east", vector=(0.0, 0.0, 1.0), text="up")])
    yield from perform(VectorStore.delete_rows, name, ["east"])
    [[match]] = yield from perform(VectorStore.query, other, [(0.0, 0.0, 1.0)])
    require_equal((match.row.id, match.row.text), ("east", "up"), "the row of the other collection")
    yield from perform(VectorStore.delete_collection, other)
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS) - 1, "the number of rows")
    yield from perform(VectorStore.delete_collection, name)


@do
def _replacing(name: str) -> Law:
    yield from _filled(name)
    moved = VectorRow(id="east", vector=(0.0, -1.0), text="moved")
    yield from perform(VectorStore.upsert, name, [moved])
    yield from perform(VectorStore.upsert, name, [moved])
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS), "the number of rows")
    [[match]] = yield from perform(VectorStore.query, name, [(0.0, -2.0)], num_results=1)
    require_equal(match.row, moved, "the row written again")
    last = attrs.evolve(moved, text="moved twice")
    yield from perform(VectorStore.upsert, name, [moved, last])
    [[match]] = yield from perform(VectorStore.query, name, [(0.0, -2.0)], num_results=1)
    require_equal(match.row, last, "the last of two rows with one id")
    yield from perform(VectorStore.upsert, name, ())
    yield from perform(VectorStore.delete_rows, name, ())
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS), "the number of rows")
    for _ in range(2):
        yield from perform(VectorStore.delete_rows, name, ["east", "never-there"])
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS) - 1, "the number of rows")
    yield from perform(VectorStore.delete_collection, name)


@do
def _missing(name: str) -> Law:
    for what, use in {
        "finding": perform(VectorStore.get_collection, name),
        "writing to": perform(VectorStore.upsert, name, ROWS),
        "asking": perform(VectorStore.query, name, [(1.0, 0.0)]),
        "deleting from": perform(VectorStore.delete_rows, name, ["east"]),
        "counting": perform(VectorStore.count, name),
    }.items():
        yield from refused(f"{what} a collection that is not there", use, NotFound)


@do
def _bad_vectors(name: str) -> Law:
    yield from _filled(name)
    good = VectorRow(id="good", vector=(1.0, 1.0))
    for bad in ((1.0,), (1.0, 2.0, 3.0), (0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0)):
        writing = perform(VectorStore.upsert, name, [good, VectorRow(id="bad", vector=bad)])
        error = yield from refused(f"writing {bad}", writing, InvalidRequest)
        require_equal(getattr(error, "index", None), 1, "the index of the bad row")
        writing = perform(
            VectorStore.upsert, name, [VectorRow(id="east", vector=(0.0, 1.0)), VectorRow(id="bad", vector=bad)]
        )
        yield from refused(f"writing {bad} behind a row that is there", writing, InvalidRequest)
        asking = perform(VectorStore.query, name, [(1.0, 0.0), bad])
        yield from refused(f"asking for {bad}", asking, InvalidRequest)
    none = perform(VectorStore.query, name, [(1.0, 0.0)], num_results=0)
    yield from refused("asking for no results", none, InvalidRequest)
    require_equal((yield from perform(VectorStore.count, name)), len(ROWS), "the number of rows")
    [[east]] = yield from perform(VectorStore.query, name, [(1.0, 0.0)], num_results=1)
    require_equal(east.row, ROWS[0], "the row of a refused batch, which was there before")
    yield from perform(VectorStore.delete_collection, name)


def _ids(matches: Sequence[Match]) -> list[str]:
    return [match.row.id for match in matches]
