"""The stores of our own keep the promises of their ports, and survive what files go through."""

import os
import resource
import struct
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Failure, Json, perform
from crucible.telemetry.errors import CorruptRecord, InvalidRecord, StoreFailed
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import (
    InMemoryEventStore,
    InMemoryMetricsStore,
    JsonlEventStore,
    JsonlMetricsStore,
    TornTail,
)
from crucible.telemetry.types import EventRecord, MetricPoint, points_of
from crucible.testing import check_event_store, check_metrics_store

START = datetime(2026, 1, 1, tzinfo=UTC)

bits = st.binary(min_size=8, max_size=8).map(lambda data: float(struct.unpack(">d", data)[0]))
json_values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | bits | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
timestamps = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.timezones())  # noqa: DTZ001  # hypothesis adds the zone


@st.composite
def points(draw: st.DrawFn) -> list[MetricPoint]:
    sequences = draw(st.lists(st.integers(0, 2**63), unique=True, max_size=6))
    return [
        MetricPoint(
            name=draw(st.text(min_size=1)),
            value=draw(bits),
            step=draw(st.none() | st.integers()),
            timestamp=draw(timestamps),
            metadata=draw(st.dictionaries(st.text(max_size=5), json_values, max_size=3)),
            sequence=sequence,
        )
        for sequence in sequences
    ]


def record(store: MetricsStore, batch: Sequence[MetricPoint], run_id: str = "run") -> int:
    return MetricsStore.handled_by(store).run(perform(MetricsStore.record, run_id, batch)).unwrap()


def read(store: MetricsStore, run_id: str = "run") -> tuple[MetricPoint, ...]:
    return MetricsStore.handled_by(store).run(perform(MetricsStore.read, run_id)).value_or(())


def plain(count: int, start: int = 0) -> list[MetricPoint]:
    return [
        MetricPoint(name="loss", value=i / 7, step=i, timestamp=START + timedelta(seconds=i), sequence=i)
        for i in range(start, start + count)
    ]


def test_in_memory_metrics_keep_the_contract() -> None:
    check_metrics_store(lambda: MetricsStore.handled_by(InMemoryMetricsStore()))


def test_in_memory_events_keep_the_contract() -> None:
    check_event_store(lambda: EventStore.handled_by(InMemoryEventStore()))


def test_jsonl_metrics_keep_the_contract(tmp_path: Path) -> None:
    check_metrics_store(lambda: MetricsStore.handled_by(JsonlMetricsStore(tempfile.mkdtemp(dir=tmp_path))))


def test_jsonl_events_keep_the_contract(tmp_path: Path) -> None:
    check_event_store(lambda: EventStore.handled_by(JsonlEventStore(Path(tempfile.mkdtemp(dir=tmp_path)) / "new/one")))


@given(points(), st.integers(0, 6))
def test_a_round_trip_through_jsonl_changes_nothing(batch: list[MetricPoint], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = JsonlMetricsStore(folder)
        assert record(store, batch[:cut]) + record(store, batch[cut:]) == len(batch)
        expected = tuple(sorted(batch, key=lambda point: point.sequence))
        assert read(JsonlMetricsStore(folder)) == expected
        assert record(JsonlMetricsStore(folder), batch) == 0


def test_a_file_cut_at_any_byte_reads_as_a_prefix_and_can_be_completed(tmp_path: Path) -> None:
    batch = plain(4)
    whole = JsonlMetricsStore(tmp_path / "whole")
    record(whole, batch)
    data = (tmp_path / "whole/run.metrics.jsonl").read_bytes()
    file = tmp_path / "cut/run.metrics.jsonl"
    file.parent.mkdir()
    for size in range(len(data) + 1):
        file.write_bytes(data[:size])
        store = JsonlMetricsStore(file.parent)
        num_whole = data[:size].count(b"\n")
        assert read(store) == tuple(batch[:num_whole])
        torn = size - (data[:size].rfind(b"\n") + 1)
        assert store.torn_tails == (
            () if torn == 0 else (TornTail(path=str(file), offset=size - torn, num_bytes=torn),)
        )
        assert file.read_bytes() == data[:size], "reading must not write"
        assert record(store, batch) == 4 - num_whole
        assert file.read_bytes() == data


def test_an_event_file_cut_at_any_byte_reads_as_a_prefix_and_can_be_completed(tmp_path: Path) -> None:
    batch = [EventRecord(name="step", timestamp=START, attributes={"i": i}, sequence=i) for i in range(3)]
    file = tmp_path / "run.events.jsonl"

    def use(store: JsonlEventStore) -> tuple[EventRecord, ...]:
        handlers = EventStore.handled_by(store)
        handlers.run(perform(EventStore.open_run, "run", metadata={"a": 1})).unwrap()
        before = handlers.run(perform(EventStore.query, "run")).unwrap()
        handlers.run(perform(EventStore.insert, "run", batch)).unwrap()
        assert handlers.run(perform(EventStore.query, "run")).unwrap() == tuple(batch)
        return before

    use(JsonlEventStore(tmp_path))
    data = file.read_bytes()
    for size in range(len(data) + 1):
        file.write_bytes(data[:size])
        assert use(JsonlEventStore(tmp_path)) == tuple(batch[: max(0, data[:size].count(b"\n") - 1)])
        assert file.read_bytes() == data


def test_a_line_that_is_no_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = JsonlMetricsStore(tmp_path)
    record(store, plain(2))
    file = tmp_path / "run.metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b'{"metric": 1}\n' + lines[1])
    for use in (perform(MetricsStore.read, "run"), perform(MetricsStore.record, "run", plain(1, start=9))):
        result = MetricsStore.handled_by(JsonlMetricsStore(tmp_path)).run(use)
        assert isinstance(result, Failure)
        error = result.failure()
        assert isinstance(error, CorruptRecord)
        assert (error.path, error.line) == (str(file), 2)


def test_a_full_disk_is_an_error_and_nothing_is_half_stored(tmp_path: Path) -> None:
    store = JsonlMetricsStore(tmp_path)
    record(store, plain(2))
    file = tmp_path / "run.metrics.jsonl"
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 200, hard))  # the system then refuses in mid-write
    try:
        result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", plain(5, start=2)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(result, Failure)
    assert isinstance(result.failure(), StoreFailed)
    assert file.read_bytes() == before
    assert record(store, plain(5, start=2)) == 5
    assert read(store) == tuple(plain(7))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = JsonlMetricsStore(tmp_path / "file" / "below")
    result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", plain(1)))
    assert isinstance(result.failure(), StoreFailed)


def test_metadata_that_is_no_json_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    store = JsonlMetricsStore(tmp_path)
    batch = [*plain(1), MetricPoint(name="x", value=1, timestamp=START, metadata={"a": object()}, sequence=1)]  # type: ignore[dict-item]  # wrong on purpose
    result = MetricsStore.handled_by(store).run(perform(MetricsStore.record, "run", batch))
    error = result.failure()
    assert isinstance(error, InvalidRecord)
    assert error.index == 1
    assert read(store) == ()


def test_two_stores_on_one_folder_double_nothing(tmp_path: Path) -> None:
    first, second = JsonlMetricsStore(tmp_path), JsonlMetricsStore(tmp_path)
    assert record(first, plain(3)) == 3
    assert record(second, plain(5)) == 2
    assert record(first, plain(6)) == 1
    assert read(first) == tuple(plain(6))


def test_a_file_replaced_by_another_is_noticed(tmp_path: Path) -> None:
    store = JsonlMetricsStore(tmp_path)
    record(store, plain(3))
    (tmp_path / "run.metrics.jsonl").unlink()
    record(JsonlMetricsStore(tmp_path), plain(4, start=10))
    assert record(store, plain(3)) == 3
    assert read(store) == tuple(plain(3) + plain(4, start=10))


def test_what_writers_in_other_processes_append_is_whole(tmp_path: Path) -> None:
    children = []
    for part in range(3):
        child = os.fork()
        if child == 0:
            store = JsonlMetricsStore(tmp_path)
            for start in range(0, 30, 5):
                record(store, plain(7, start=part * 15 + start))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert read(JsonlMetricsStore(tmp_path)) == tuple(plain(62))


def test_a_timestamp_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        MetricPoint(name="loss", value=1.0, timestamp=START.replace(tzinfo=None), sequence=0)


@given(points())
def test_points_made_of_columns_are_those_made_one_by_one(batch: list[MetricPoint]) -> None:
    plain_ones = [attrs.evolve(point, metadata={}) for point in batch]
    made = points_of(
        [point.name for point in plain_ones],
        [point.value for point in plain_ones],
        [point.step for point in plain_ones],
        [point.timestamp for point in plain_ones],
        [point.sequence for point in plain_ones],
    )
    assert made == plain_ones
    assert len({id(point.metadata) for point in made}) == len(made)


@pytest.mark.parametrize(("name", "sequence"), [("", 0), ("loss", -1)])
def test_columns_that_make_no_point_are_refused_as_one_point_is(name: str, sequence: int) -> None:
    with pytest.raises(ValueError, match=r"name|sequence"):
        points_of(["loss", name], [1.0, 2.0], [1, 2], [START, START], [0, sequence])
