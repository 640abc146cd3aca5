"""The store on LanceDB keeps its contract, finds what the exact one finds, and loses nothing that it acknowledged."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import lancedb as sdk
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crucible.effects import gather, perform
from crucible.kitchen.handlers import lancedb
from crucible.testing import check_vector_store
from crucible.train.errors import MissingExtra, StorageFailed
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Vector, VectorRow
from tests.kitchen.handlers.exact_vectors.generated import (
    HOSTILE,
    NAME,
    conditions,
    expected,
    filled,
    found,
    rows,
    shown,
    vectors,
)

EAST = (1.0, 0.0, 0.0)

UPSERT_MANY = """
import sys
from crucible.effects import perform
from crucible.kitchen.handlers import lancedb
from crucible.train.ports import VectorStore
from crucible.train.types import VectorRow

store = lancedb.folder(sys.argv[1])
store.run(perform(VectorStore.create_collection, "rows", dimension=1)).unwrap()
for number in range(10_000):
    store.run(perform(VectorStore.upsert, "rows", [VectorRow(id=str(number), vector=(1.0,))])).unwrap()
    print(number, flush=True)
"""


def test_the_contract_is_kept(tmp_path: Path) -> None:
    check_vector_store(lambda: lancedb.folder(tmp_path / "not" / "made"))


def test_it_finds_what_the_exact_store_finds_whatever_the_texts(tmp_path: Path) -> None:
    store = lancedb.folder(tmp_path)

    @settings(max_examples=25)
    @given(st.lists(rows, max_size=12), vectors, st.lists(conditions, max_size=2), st.integers(1, 6))
    def alike(batch: list[VectorRow], question: Vector, where: list[Condition], num_results: int) -> None:
        ours = found(filled(store, batch), question, num_results=num_results, where=where)
        assert shown(ours) == shown(expected(batch, question, num_results=num_results, where=where))

    alike()


def test_no_text_is_read_as_a_statement(tmp_path: Path) -> None:
    batch = [VectorRow(id="kept", vector=EAST, metadata={"kind": "kept"})]
    store = filled(lancedb.folder(tmp_path), batch)

    @settings(max_examples=25)
    @given(st.text(min_size=1))
    @example(HOSTILE[0])
    @example(HOSTILE[1])
    @example("kept' OR '1'='1")
    @example("\ud800\x00")
    def harmless(text: str) -> None:
        where = [Condition(key="kind", op="eq", value=text)]
        assert [match.row.id for match in found(store, EAST, where=where)] == ["kept"] * (text == "kept")
        assert [*found(store, EAST, where=[Condition(key=text, op="ne", value="")])] == [*found(store, EAST)] * (
            text == "kind"
        )
        store.run(perform(VectorStore.delete_rows, NAME, [f"not {text}"])).unwrap()
        assert store.run(perform(VectorStore.count, NAME)).unwrap() == 1

    harmless()


def test_it_asks_again_until_ties_and_conditions_are_settled(tmp_path: Path) -> None:
    tied = [VectorRow(id=f"{n:03}", vector=(1.0 + n, 0.0, 0.0), metadata={"n": n}) for n in range(200)]
    store = filled(lancedb.folder(tmp_path), list(reversed(tied)))
    assert [match.row.id for match in found(store, EAST)] == ["000", "001", "002"]
    where = [Condition(key="n", op="ge", value=196)]
    assert [match.row.id for match in found(store, EAST, where=where)] == ["196", "197", "198"]
    assert found(store, EAST, where=[Condition(key="n", op="lt", value=0)]) == ()


def test_many_rows_have_the_neighbours_of_the_exact_store(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    batch = [
        VectorRow(id=f"{n:04}", vector=tuple(vector), metadata={"kind": "ab"[n % 2], "n": n})
        for n, vector in enumerate(random.normal(size=(1000, 8)).tolist())
    ]
    store = filled(lancedb.folder(tmp_path), batch)
    for question in random.normal(size=(10, 8)).tolist():
        for where in ([], [Condition(key="kind", op="eq", value="a")], [Condition(key="n", op="lt", value=100)]):
            ours = found(store, tuple(question), num_results=7, where=where)
            assert shown(ours) == shown(expected(batch, tuple(question), num_results=7, where=where))


def test_writes_at_once_are_all_kept(tmp_path: Path) -> None:
    store = filled(lancedb.folder(tmp_path), [])
    batches = [[VectorRow(id=str(n), vector=EAST)] for n in range(10)]
    store.run(gather([perform(VectorStore.upsert, NAME, batch) for batch in batches])).unwrap()
    again = lancedb.folder(tmp_path)
    assert again.run(perform(VectorStore.count, NAME)).unwrap() == 10


def test_small_batches_are_made_one_and_read_as_before(tmp_path: Path) -> None:
    store = filled(lancedb.folder(tmp_path), [])
    batch = [VectorRow(id=str(n), vector=(1.0, float(n), 0.0)) for n in range(70)]
    for row in batch:
        store.run(perform(VectorStore.upsert, NAME, [row])).unwrap()
    [name] = sdk.connect(tmp_path).list_tables().tables
    told = cast(
        "dict[str, dict[str, int]]", sdk.connect(tmp_path).open_table(name).stats()
    )  # as it is, not as it is typed
    assert told["fragment_stats"]["num_fragments"] < 35
    assert shown(found(store, EAST, num_results=99)) == shown(expected(batch, EAST, num_results=99, where=()))


def test_a_process_that_is_killed_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UPSERT_MANY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(70)]  # small files were made one by then
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
    [kept] = lancedb.folder(tmp_path).run(perform(VectorStore.query, "rows", [(1.0,)], num_results=10_000)).unwrap()
    assert "" not in acknowledged
    assert set(acknowledged) <= {match.row.id for match in kept}


def test_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    sdk.connect(tmp_path).create_table("theirs", [{"a": 1}])
    sdk.connect(tmp_path).create_table("collection-theirs", [{"a": 1}])
    store = lancedb.folder(tmp_path)
    assert store.run(perform(VectorStore.list_collections)).unwrap() == ()
    filled(store, [VectorRow(id="a", vector=EAST)])
    store.run(perform(VectorStore.delete_collection, NAME)).unwrap()
    assert sorted(sdk.connect(tmp_path).list_tables().tables) == ["collection-theirs", "theirs"]


def test_a_damaged_table_says_what_to_do(tmp_path: Path) -> None:
    filled(lancedb.folder(tmp_path), [VectorRow(id="a", vector=EAST)])
    for file in tmp_path.glob("*/_versions/*"):
        file.write_bytes(b"nothing")
    error = lancedb.folder(tmp_path).run(perform(VectorStore.count, NAME)).failure()
    assert isinstance(error, StorageFailed)
    assert str(tmp_path) in str(error)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = lancedb.folder(tmp_path / "file" / "vectors")
    error = store.run(perform(VectorStore.create_collection, NAME, dimension=3)).failure()
    assert isinstance(error, StorageFailed)


def test_without_lancedb_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    error = lancedb.folder("vectors").run(perform(VectorStore.list_collections)).failure()
    assert error == MissingExtra(extra="lancedb", package="lancedb")
