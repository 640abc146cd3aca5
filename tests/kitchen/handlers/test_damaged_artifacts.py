"""What handlers left on disk, damaged: each operation gives a value or an error value that says something, never an exception."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.effects import Failure, Handlers, Result, perform
from crucible.kitchen import run
from crucible.kitchen.handlers import blobs, exact_vectors, lancedb, sqlite, torch
from crucible.kitchen.ports import ModelRegistry
from crucible.kitchen.ports.registry import ModelArtifact
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint
from crucible.train.ports import BlobStore, SamplingClient, TrainingClient, VectorStore
from crucible.train.types import SamplingConfig, SessionConfig, VectorRow
from tests.kitchen.handlers.torch.conftest import tiny_folder
from tests.kitchen.handlers.torch.tiny import config_for, on_this_machine, recipe

__all__ = ["tiny_folder"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POINTS = [MetricPoint(name="loss", value=0.5, step=step, timestamp=NOW, sequence=step) for step in range(5)]
EVENTS = [EventRecord(name="x", timestamp=NOW, attributes={"a": 1}, sequence=10 + place) for place in range(3)]
ARTIFACT = ModelArtifact(name="m", version="1", uri="somewhere")

Operation = Callable[[], Result[object, object]]


@attrs.frozen
class Kept:
    """How something is left in a folder, and everything that is done with it afterwards."""

    leave: Callable[[Path], object]
    uses: Callable[[Path], Sequence[Operation]]


def of_vectors(folder: Callable[[Path], Handlers[VectorStore]]) -> Kept:
    rows = [VectorRow(id=str(number), vector=(1.0, float(number)), metadata={"n": number}) for number in range(5)]

    def leave(path: Path) -> object:
        making = perform(VectorStore.create_collection, "c", dimension=2)
        return folder(path).run(making.bind(lambda _: perform(VectorStore.upsert, "c", rows))).unwrap()

    def uses(path: Path) -> Sequence[Operation]:
        handlers = folder(path)
        return [
            lambda: handlers.run(perform(VectorStore.list_collections)),
            lambda: handlers.run(perform(VectorStore.get_collection, "c")),
            lambda: handlers.run(perform(VectorStore.count, "c")),
            lambda: handlers.run(perform(VectorStore.query, "c", [(1.0, 2.0)])),
            lambda: handlers.run(perform(VectorStore.upsert, "c", rows[:1])),
            lambda: handlers.run(perform(VectorStore.delete_collection, "c")),
        ]

    return Kept(leave, uses)


def of_blobs() -> Kept:
    def uses(path: Path) -> Sequence[Operation]:
        handlers = blobs.folder(path)
        return [
            lambda: handlers.run(perform(BlobStore.read, "a/x")),
            lambda: handlers.run(perform(BlobStore.checksum, "a/x")),
            lambda: handlers.run(perform(BlobStore.list_blobs)),
            lambda: handlers.run(perform(BlobStore.write, "a/x", b"new")),
        ]

    return Kept(lambda path: blobs.folder(path).run(perform(BlobStore.write, "a/x", b"hello" * 99)).unwrap(), uses)


def of_registry() -> Kept:
    def uses(path: Path) -> Sequence[Operation]:
        handlers = sqlite.registry(path / "models.sqlite")
        return [
            lambda: handlers.run(perform(ModelRegistry.list_models)),
            lambda: handlers.run(perform(ModelRegistry.get, "m:1")),
            lambda: handlers.run(perform(ModelRegistry.register, ARTIFACT)),
        ]

    return Kept(lambda path: uses(path)[-1]().unwrap(), uses)


def of_telemetry(metrics: Callable[[Path], MetricsStore], events: Callable[[Path], EventStore]) -> Kept:
    def stores(path: Path) -> Handlers[MetricsStore | EventStore]:
        return MetricsStore.handled_by(metrics(path)) | EventStore.handled_by(events(path))

    def writing(path: Path) -> Sequence[Operation]:
        handlers = stores(path)
        return [
            lambda: handlers.run(perform(EventStore.open_run, "r")),
            lambda: handlers.run(perform(MetricsStore.record, "r", POINTS)),
            lambda: handlers.run(perform(EventStore.insert, "r", EVENTS)),
            lambda: handlers.run(perform(MetricsStore.flush, "r")),
        ]

    def uses(path: Path) -> Sequence[Operation]:
        handlers = stores(path)
        return [
            lambda: handlers.run(perform(EventStore.list_runs)),
            lambda: handlers.run(perform(MetricsStore.list_metrics, "r")),
            lambda: handlers.run(perform(MetricsStore.read, "r")),
            lambda: handlers.run(perform(EventStore.query, "r")),
            *writing(path),
            lambda: handlers.run(perform(MetricsStore.delete_run, "r")),
        ]

    return Kept(lambda path: [done().unwrap() for done in writing(path)], uses)


KEPT = {
    "vectors": of_vectors(exact_vectors.folder),
    "lancedb": of_vectors(lancedb.folder),
    "blobs": of_blobs(),
    "registry": of_registry(),
    "sqlite telemetry": of_telemetry(SqliteMetricsStore, SqliteEventStore),
    "jsonl telemetry": of_telemetry(JsonlMetricsStore, JsonlEventStore),
}


def damage(data: st.DataObject, folder: Path) -> None:
    """Damage one file of a folder, take it away, or put a folder in its place.

    What is drawn does not depend on names and sizes, which some of them choose at random.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    file = files[data.draw(st.integers(0, 99)) % len(files)]
    whole = file.read_bytes()
    place = data.draw(st.integers(0, 10**6)) % max(len(whole), 1)
    file.unlink()
    match data.draw(st.sampled_from(["gone", "folder", "flipped", "cut", "other"])):
        case "folder":
            file.mkdir()
        case "flipped" if whole:
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        case "cut":
            file.write_bytes(whole[:place])
        case "other":
            other = st.sampled_from([b"{}", b'[1, null, {"x": "y"}]\n', b"\xff\xfe{\x00}\x00", b"null", b"7"])
            file.write_bytes(data.draw(other | st.binary(max_size=200)))
        case _:
            pass


def all_are_values(operations: Sequence[Operation]) -> None:
    for operation in operations:
        result = operation()
        if isinstance(result, Failure):
            assert len(str(result.failure())) > 10


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_never_an_exception(
    tmp_path_factory: pytest.TempPathFactory, kept: Kept, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("kept") / "it"
    kept.leave(folder)
    damage(data, folder)
    all_are_values(kept.uses(folder))


@pytest.fixture(scope="module")
def trained(tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave the checkpoints and weights of a run; give its folder."""
    root = tmp_path_factory.mktemp("trained") / "run"
    run(recipe(config_for(tiny_folder, epochs=1)), on_this_machine(root), run_id="r").unwrap()
    return root


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_weights_are_never_an_exception(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: str, trained: Path, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(trained, root)
    checkpoint = next((root / "checkpoints").iterdir())
    weights = root / "weights" / "final_weights"
    damage(data, data.draw(st.sampled_from([checkpoint, weights])))
    handlers, session = torch.local(root, num_threads=1), config_for(tiny_folder).session
    sampled = SamplingConfig(model=tiny_folder, weights_path=str(weights))
    all_are_values(
        [
            lambda: handlers.run(perform(TrainingClient.restore_session, session, str(checkpoint))),
            lambda: handlers.run(
                perform(TrainingClient.restore_session, session, str(checkpoint), with_optimizer=False)
            ),
            lambda: handlers.run(perform(SamplingClient.start_session, sampled)),
        ]
    )


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_model_is_never_an_exception(
    tmp_path_factory: pytest.TempPathFactory, tiny_folder: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("model") / "it"
    shutil.copytree(tiny_folder, folder)
    damage(data, folder)
    handlers = torch.local(folder / "runs", num_threads=1)
    starting = perform(TrainingClient.start_session, SessionConfig(model=str(folder)))
    all_are_values(
        [
            lambda: handlers.run(starting.bind(lambda session: perform(TrainingClient.get_tokenizer, session))),
            lambda: handlers.run(perform(SamplingClient.start_session, SamplingConfig(model=str(folder)))),
        ]
    )
