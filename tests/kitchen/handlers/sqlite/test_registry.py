"""The registry in SQLite keeps its contract, and what it acknowledged, whoever writes beside it or dies."""

import math
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Handlers, gather, perform
from crucible.kitchen.handlers import sqlite
from crucible.kitchen.handlers.sqlite._database import Database
from crucible.kitchen.ports import ModelArtifact, ModelRegistry
from crucible.storage import Schema
from crucible.testing import check_model_registry
from crucible.train.errors import InvalidRequest, StorageFailed

ONE = ModelArtifact(name="adder", version="1", uri="runs/1")

REGISTER_MANY = """
import sys
from crucible.effects import perform
from crucible.kitchen.handlers import sqlite
from crucible.kitchen.ports import ModelArtifact, ModelRegistry

registry = sqlite.registry(sys.argv[1])
for number in range(int(sys.argv[3])):
    artifact = ModelArtifact(name=sys.argv[2], version=str(number), uri="x")
    registry.run(perform(ModelRegistry.register, artifact)).unwrap()
    print(number, flush=True)
"""


def registering(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REGISTER_MANY, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def versions(registry: Handlers[ModelRegistry], name: str) -> list[str]:
    models = registry.run(perform(ModelRegistry.list_models, name=name)).unwrap()
    return [model.artifact.version for model in models]


def test_the_contract_is_kept(tmp_path: Path) -> None:
    files = iter(range(99))
    check_model_registry(lambda: sqlite.registry(tmp_path / "not" / "made" / str(next(files))))


def test_an_entry_says_when_it_was_made_and_outlives_its_handler(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    model = sqlite.registry(tmp_path / "models").run(perform(ModelRegistry.register, ONE)).unwrap()
    assert model.created_at is not None
    assert before <= model.created_at <= datetime.now(UTC)
    assert sqlite.registry(tmp_path / "models").run(perform(ModelRegistry.get, model.id)).unwrap() == model


def test_looking_makes_no_file(tmp_path: Path) -> None:
    assert sqlite.registry(tmp_path / "models").run(perform(ModelRegistry.list_models)).unwrap() == ()
    assert list(tmp_path.iterdir()) == []


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def test_every_artifact_comes_back_as_it_was(tmp_path: Path) -> None:
    files = iter(range(10_000))

    @given(st.dictionaries(texts, st.floats(), max_size=3), st.dictionaries(texts, json_values, max_size=3))
    def kept(metrics: dict[str, float], metadata: dict[str, None]) -> None:
        registry = sqlite.registry(tmp_path / str(next(files)))
        artifact = attrs.evolve(ONE, metrics=metrics, metadata=metadata)
        first = registry.run(perform(ModelRegistry.register, artifact)).unwrap()
        again = registry.run(perform(ModelRegistry.register, artifact)).unwrap()
        assert again.created_at == first.created_at
        assert again.artifact.metadata == metadata
        assert again.artifact.metrics.keys() == metrics.keys()
        for name, value in metrics.items():
            found = again.artifact.metrics[name]
            assert found == value or (math.isnan(found) and math.isnan(value))

    kept()


@pytest.mark.parametrize(
    "artifact",
    [
        attrs.evolve(ONE, metadata={"odd": object()}),  # type: ignore[dict-item]  # what is refused
        attrs.evolve(ONE, name="\ud800"),
    ],
    ids=["no JSON", "half a character"],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, artifact: ModelArtifact) -> None:
    error = sqlite.registry(tmp_path / "models").run(perform(ModelRegistry.register, artifact)).failure()
    assert isinstance(error, InvalidRequest)


def test_registrations_at_once_are_all_kept(tmp_path: Path) -> None:
    registry = sqlite.registry(tmp_path / "models")
    artifacts = [attrs.evolve(ONE, version=str(number)) for number in range(20)]
    registry.run(gather([perform(ModelRegistry.register, each) for each in artifacts * 2])).unwrap()
    assert sorted(map(int, versions(registry, "adder"))) == list(range(20))


def test_several_processes_may_register(tmp_path: Path) -> None:
    writers = {name: registering(tmp_path / "models", name, 15) for name in ("a", "b")}
    for writer in writers.values():
        writer.communicate()
        assert writer.returncode == 0
    registry = sqlite.registry(tmp_path / "models")
    assert {name: versions(registry, name) for name in writers} == {name: [*map(str, range(15))] for name in writers}


def test_a_process_that_is_killed_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    with registering(tmp_path / "models", "a", 10_000) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split()
    assert versions(sqlite.registry(tmp_path / "models"), "a")[: len(acknowledged)] == acknowledged


def broken(path: Path) -> list[str]:
    registry = sqlite.registry(path)
    operations = (perform(ModelRegistry.register, ONE), perform(ModelRegistry.get, "x"))
    errors = [registry.run(operation).failure() for operation in operations]
    errors.append(registry.run(perform(ModelRegistry.list_models)).failure())
    assert {type(error) for error in errors} == {StorageFailed}
    return [str(error) for error in errors]


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "models"
    path.write_bytes(b"no database at all" * 1000)
    assert all("damaged" in text and str(path) in text for text in broken(path))
    path.unlink()
    sqlite.registry(path).run(perform(ModelRegistry.register, ONE)).unwrap()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    assert all("damaged" in text for text in broken(path))


def test_a_newer_file_and_one_of_another_program_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "models"
    sqlite.registry(path).run(perform(ModelRegistry.register, ONE)).unwrap()
    for statement, message in (
        ("PRAGMA user_version=99", "version 99: read it with a newer crucible"),
        ("PRAGMA application_id=7", "of something else"),
        ("PRAGMA application_id=0", "of something else"),
    ):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
        assert all(message in text for text in broken(path))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = sqlite.registry(tmp_path / "file" / "models").run(perform(ModelRegistry.register, ONE)).failure()
    assert isinstance(error, StorageFailed)


@pytest.mark.anyio
async def test_older_tables_are_brought_up_to_date_and_keep_their_rows(tmp_path: Path) -> None:
    first = ["CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('kept')"]
    older = Database(path=tmp_path / "db", schema=Schema(kind=5, migrations=[first]))
    added = ["ALTER TABLE things ADD COLUMN size INTEGER"]
    newer = Database(path=tmp_path / "db", schema=Schema(kind=5, migrations=[first, added]))

    def read(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
        return list(connection.execute("SELECT * FROM things"))

    assert (await older.transact(read, writes=False)).unwrap() == [("kept",)]
    assert (await older.transact(read, writes=True)).unwrap() == [("kept",)]
    assert (await newer.transact(read, writes=False)).unwrap() == [("kept", None)]
    assert "version 2" in str((await older.transact(read, writes=False)).failure())
