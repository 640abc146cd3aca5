"""The numpy store keeps its contract, finds what the plain arithmetic finds, and keeps in a folder what it acknowledged."""

import signal
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Handlers, perform
from crucible.kitchen.handlers import exact_vectors, noop
from crucible.testing import check_vector_store
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, StorageFailed
from crucible.train.ports import VectorStore
from crucible.train.types import Condition, Vector, VectorRow
from tests.kitchen.handlers.exact_vectors.generated import (
    NAME,
    conditions,
    expected,
    filled,
    found,
    rows,
    shown,
    vectors,
)

ROW = VectorRow(id="east", vector=(1.0, 0.0, 0.0))

UPSERT_MANY = """
import sys
from crucible.effects import perform
from crucible.kitchen.handlers import exact_vectors
from crucible.train.ports import VectorStore
from crucible.train.types import VectorRow

store = exact_vectors.folder(sys.argv[1])
store.run(perform(VectorStore.create_collection, "rows", dimension=1)).unwrap()
for number in range(10_000):
    store.run(perform(VectorStore.upsert, "rows", [VectorRow(id=str(number), vector=(1.0,))])).unwrap()
    print(number, flush=True)
"""


def count(store: Handlers[VectorStore], name: str = NAME) -> int:
    return store.run(perform(VectorStore.count, name)).unwrap()


def test_the_contract_is_kept(tmp_path: Path) -> None:
    check_vector_store(exact_vectors.memory)
    check_vector_store(lambda: exact_vectors.folder(tmp_path / "not" / "made"))


@given(st.lists(rows, max_size=12), vectors, st.lists(conditions, max_size=2), st.integers(1, 6))
def test_it_finds_what_plain_arithmetic_finds(
    batch: list[VectorRow], question: Vector, where: list[Condition], num_results: int
) -> None:
    ours = found(filled(exact_vectors.memory(), batch), question, num_results=num_results, where=where)
    plain = found(filled(noop.vectors(), batch), question, num_results=num_results, where=where)
    np.testing.assert_allclose([it.similarity for it in ours], [it.similarity for it in plain], atol=1e-12)
    assert shown(ours) == shown(expected(batch, question, num_results=num_results, where=where))


def test_the_quick_pass_loses_no_neighbour() -> None:
    random = np.random.default_rng(0)
    near = random.normal(size=8) + random.normal(size=(500, 8)) * 1e-7  # nearer to each other than float32 can tell
    batch = [VectorRow(id=f"{n:03}", vector=tuple(map(float, vector))) for n, vector in enumerate(near)]
    question = tuple(map(float, near[7]))
    ours = found(filled(exact_vectors.memory(), batch), question, num_results=20)
    exact = np.array([np.dot(row, near[7]) / np.linalg.norm(row) / np.linalg.norm(near[7]) for row in near])
    best = np.sort(exact)[::-1][:20]
    np.testing.assert_allclose([match.similarity for match in ours], best, rtol=0, atol=1e-15)


@given(st.lists(st.lists(rows, max_size=4) | st.lists(st.sampled_from(["a", "b", "' OR 1=1 --"])), max_size=6))
def test_rows_that_come_and_go_are_those_of_a_dict(changes: list[list[VectorRow] | list[str]]) -> None:
    store = filled(exact_vectors.memory(), [])
    there: dict[str, VectorRow] = {}
    for change in changes:
        written = [row for row in change if isinstance(row, VectorRow)]
        deleted = [row_id for row_id in change if isinstance(row_id, str)]
        store.run(perform(VectorStore.upsert, NAME, written)).unwrap()
        store.run(perform(VectorStore.delete_rows, NAME, deleted)).unwrap()
        there |= {row.id: row for row in written}
        there = {row_id: row for row_id, row in there.items() if row_id not in deleted}
    kept = [match.row for match in found(store, (1.0, 0.0, 0.0), num_results=99)]
    assert sorted(map(repr, kept)) == sorted(map(repr, there.values()))


def test_a_folder_gives_every_row_back(tmp_path: Path) -> None:
    @given(st.lists(rows, max_size=5))
    def kept(batch: list[VectorRow]) -> None:
        before = filled(exact_vectors.folder(tmp_path), batch)
        after = exact_vectors.folder(tmp_path)
        assert shown(found(after, (1.0, 2.0, 3.0), num_results=9)) == shown(
            found(before, (1.0, 2.0, 3.0), num_results=9)
        )
        assert after.run(perform(VectorStore.list_collections)) == before.run(perform(VectorStore.list_collections))

    kept()


def test_looking_makes_no_folder(tmp_path: Path) -> None:
    store = exact_vectors.folder(tmp_path / "vectors")
    assert store.run(perform(VectorStore.list_collections)).unwrap() == ()
    store.run(perform(VectorStore.delete_collection, "nothing")).unwrap()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", UPSERT_MANY, str(tmp_path / "vectors")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
    store = exact_vectors.folder(tmp_path / "vectors")
    asking = perform(VectorStore.query, "rows", [(1.0,)], num_results=10_000)
    assert set(acknowledged) <= {match.row.id for match in store.run(asking).unwrap()[0]}


def test_a_change_that_cannot_be_saved_changes_nothing(tmp_path: Path) -> None:
    store = filled(exact_vectors.folder(tmp_path), [ROW])
    odd = attrs.evolve(ROW, id="odd", metadata={"odd": object()})  # type: ignore[dict-item]  # what cannot be written
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.run(perform(VectorStore.upsert, NAME, [odd]))
    assert count(store) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    filled(exact_vectors.folder(tmp_path), [ROW])
    [file] = tmp_path.iterdir()
    for content in (b"", b"nothing", file.read_bytes()[:-40]):
        file.write_bytes(content)
        for use in (perform(VectorStore.get_collection, NAME), perform(VectorStore.list_collections)):
            error = exact_vectors.folder(tmp_path).run(use).failure()
            assert isinstance(error, StorageFailed)
            assert "move the file away" in str(error)


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = exact_vectors.folder(tmp_path / "file" / "vectors")
    error = store.run(perform(VectorStore.create_collection, NAME, dimension=3)).failure()
    assert isinstance(error, InvalidRequest | NotFound | StorageFailed)
    assert str(tmp_path) in str(error)


def test_without_numpy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    error = exact_vectors.memory().run(perform(VectorStore.list_collections)).failure()
    assert error == MissingExtra(extra="vectors", package="numpy")
