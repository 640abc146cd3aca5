"""The SQLite stores keep the promises of their ports, and survive what files and processes go through."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, Json, perform
from crucible.storage import locked
from crucible.telemetry.errors import InvalidRecord, StoreFailed
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint
from crucible.testing import check_event_store, check_metrics_store
from tests.telemetry.test_stores import START, plain, points, read, record

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.telemetry.test_stores import plain, record
from crucible.telemetry.stores import SqliteMetricsStore
store = SqliteMetricsStore(sys.argv[1])
for start in range(0, 10**9, 5):
    record(store, plain(5, start=start))
    print(start + 5, flush=True)
"""


def test_metrics_keep_the_contract(tmp_path: Path) -> None:
    check_metrics_store(lambda: MetricsStore.handled_by(SqliteMetricsStore(tempfile.mkdtemp(dir=tmp_path))))


def test_events_keep_the_contract(tmp_path: Path) -> None:
    check_event_store(lambda: EventStore.handled_by(SqliteEventStore(Path(tempfile.mkdtemp(dir=tmp_path)) / "new/one")))


@given(points(), st.integers(0, 6))
def test_a_round_trip_changes_nothing(batch: list[MetricPoint], cut: int) -> None:
    fitting = [it for it in batch if max(it.sequence, abs(it.step or 0)) < 2**63]
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteMetricsStore(folder)
        assert record(store, fitting[:cut]) + record(store, fitting[cut:]) == len(fitting)
        assert read(SqliteMetricsStore(folder)) == tuple(sorted(fitting, key=lambda point: point.sequence))
        assert record(SqliteMetricsStore(folder), fitting) == 0


def test_metrics_and_events_of_a_run_share_a_file(tmp_path: Path) -> None:
    record(SqliteMetricsStore(tmp_path), plain(2))
    events = EventStore.handled_by(SqliteEventStore(tmp_path))
    assert events.run(perform(EventStore.list_runs)).unwrap() == ()
    events.run(perform(EventStore.open_run, "run")).unwrap()
    events.run(perform(EventStore.delete_run, "run")).unwrap()
    assert read(SqliteMetricsStore(tmp_path)) == tuple(plain(2))
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["run.sqlite"]


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    program = CHILD.format(root=str(Path(__file__).parents[2]))
    for seen in (1, 4, 9):
        folder = tmp_path / str(seen)
        with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            acknowledged = [int(child.stdout.readline()) for _ in range(seen)]
            child.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in child.stdout]
        found = read(SqliteMetricsStore(folder))
        assert len(found) >= acknowledged[-1]
        assert len(found) % 5 == 0, "no part of a batch"
        assert found == tuple(plain(len(found)))


def test_several_processes_may_write_one_run(tmp_path: Path) -> None:
    children = []
    for part in range(3):
        child = os.fork()
        if child == 0:
            store = SqliteMetricsStore(tmp_path)
            for start in range(0, 30, 5):
                record(store, plain(7, start=part * 15 + start))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert read(SqliteMetricsStore(tmp_path)) == tuple(plain(62))


def test_two_stores_on_one_folder_double_nothing(tmp_path: Path) -> None:
    first, second = SqliteMetricsStore(tmp_path), SqliteMetricsStore(tmp_path)
    assert record(first, plain(3)) == 3
    assert record(second, plain(5)) == 2
    assert record(first, plain(6)) == 1
    assert read(first) == tuple(plain(6))


def test_a_file_replaced_by_another_is_noticed(tmp_path: Path) -> None:
    store = SqliteMetricsStore(tmp_path)
    record(store, plain(3))
    for path in tmp_path.iterdir():
        path.unlink()
    record(SqliteMetricsStore(tmp_path), plain(4, start=10))
    assert record(store, plain(3)) == 3
    assert read(store) == tuple(plain(3) + plain(4, start=10))


def test_a_full_disk_is_an_error_and_nothing_is_half_stored(tmp_path: Path) -> None:
    store = SqliteMetricsStore(tmp_path)
    record(store, plain(2))
    connection = store._databases.reading("run")
    assert connection is not None
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages}")  # SQLite then meets a disk that has no more room
    result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", plain(5000, start=2)))
    error = result.failure()
    assert isinstance(error, StoreFailed)
    assert "free some space" in error.fix
    assert read(store) == tuple(plain(2))
    connection.execute("PRAGMA max_page_count=100000")
    assert record(store, plain(5000, start=2)) == 5000


@pytest.mark.parametrize(
    ("content", "fix"), [(b"no database, but long enough to be looked at as one" * 40, "move the file away")]
)
def test_a_file_that_is_no_database_is_an_error(tmp_path: Path, content: bytes, fix: str) -> None:
    (tmp_path / "run.sqlite").write_bytes(content)
    for use in (perform(MetricsStore.read, "run"), perform(MetricsStore.record, "run", plain(1))):
        error = MetricsStore.handled_by(SqliteMetricsStore(tmp_path)).run(use).failure()
        assert isinstance(error, StoreFailed)
        assert fix in error.fix


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "run.sqlite")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    error = MetricsStore.handled_by(SqliteMetricsStore(tmp_path)).run(perform(MetricsStore.read, "run")).failure()
    assert isinstance(error, StoreFailed)
    assert "newer crucible" in error.fix


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SqliteMetricsStore(tmp_path / "file" / "below")
    result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", plain(1)))
    assert isinstance(result.failure(), StoreFailed)


@pytest.mark.parametrize(
    "wrong",
    [
        MetricPoint(name="x", value=1, timestamp=START, metadata={"a": object()}, sequence=1),  # type: ignore[dict-item]  # wrong on purpose
        MetricPoint(name="x", value=1, timestamp=START, sequence=2**63),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_is_stored(tmp_path: Path, wrong: MetricPoint) -> None:
    store = SqliteMetricsStore(tmp_path)
    result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", [*plain(1), wrong]))
    assert isinstance(result, Failure)
    assert isinstance(result.failure(), InvalidRecord)
    assert read(store) == ()


def test_an_event_that_is_no_json_names_its_place(tmp_path: Path) -> None:
    events = EventStore.handled_by(SqliteEventStore(tmp_path))
    events.run(perform(EventStore.open_run, "run")).unwrap()
    wrong = EventRecord(name="x", timestamp=START, attributes={"a": object()}, sequence=1)  # type: ignore[dict-item]  # wrong on purpose
    error = events.run(perform(EventStore.insert, "run", [wrong])).failure()
    assert isinstance(error, InvalidRecord)
    assert error.index == 0


def test_flush_brings_the_log_into_the_database(tmp_path: Path) -> None:
    store = SqliteMetricsStore(tmp_path)
    record(store, plain(3))
    MetricsStore.handled_by(store).run(perform(MetricsStore.flush, "run")).unwrap()
    copy = tmp_path / "copy" / "run.sqlite"
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "run.sqlite").read_bytes())
    assert read(SqliteMetricsStore(copy.parent)) == tuple(plain(3))


# A viewer


def test_a_viewer_reads_while_a_writer_is_in_the_middle_of_a_batch_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    record(SqliteMetricsStore(tmp_path), plain(3))
    writer = sqlite3.connect(tmp_path / "run.sqlite", isolation_level=None)
    with locked(tmp_path):
        writer.execute("BEGIN IMMEDIATE")
        viewer = SqliteMetricsStore(tmp_path, read_only=True)
        assert read(viewer) == tuple(plain(3))
        del viewer  # which closes its connection
        writer.execute("COMMIT")
    writer.close()
    assert record(SqliteMetricsStore(tmp_path), plain(2, start=3)) == 2


def test_a_viewer_changes_nothing_and_says_so(tmp_path: Path) -> None:
    record(SqliteMetricsStore(tmp_path), plain(3))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    viewer = SqliteMetricsStore(tmp_path, read_only=True)
    error = MetricsStore.handled_by(viewer).run(perform(MetricsStore.record, "run", plain(1))).failure()
    assert isinstance(error, StoreFailed)
    assert "read_only" in error.fix
    events = EventStore.handled_by(SqliteEventStore(tmp_path / "none", read_only=True))
    assert isinstance(events.run(perform(EventStore.open_run, "run")), Failure)
    assert events.run(perform(EventStore.list_runs)).unwrap() == ()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "run.sqlite")
    connection.execute("PRAGMA application_id=77")
    connection.execute("CREATE TABLE birds (name)")
    connection.close()
    for use in (perform(MetricsStore.read, "run"), perform(MetricsStore.record, "run", plain(1))):
        error = MetricsStore.handled_by(SqliteMetricsStore(tmp_path)).run(use).failure()
        assert isinstance(error, StoreFailed)
        assert "something else" in error.message


@given(
    st.dictionaries(
        st.text(max_size=3) | st.just("$float"), st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    )
)
def test_an_event_without_nesting_comes_back_as_it_was(attributes: dict[str, Json]) -> None:
    record = EventRecord(name="odd", timestamp=START, attributes=attributes, sequence=0)
    with tempfile.TemporaryDirectory() as folder:
        handlers = EventStore.handled_by(SqliteEventStore(folder))
        handlers.run(perform(EventStore.open_run, "run")).unwrap()
        handlers.run(perform(EventStore.insert, "run", [record])).unwrap()
        assert handlers.run(perform(EventStore.query, "run")).unwrap() == (record,)
