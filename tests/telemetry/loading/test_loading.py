"""A run is read whole through the ports, whoever keeps it and however far it got."""

from pathlib import Path

import pytest

from crucible.telemetry.events import TrainingStep
from crucible.telemetry.loading import LoadedRun, RunPlace, find_run, glance, load_run, standing_of
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore
from tests.telemetry.made import COMPLETED, points, train

pytestmark = pytest.mark.anyio


async def keep(events: EventStore, metrics: MetricsStore) -> None:
    (await events.open_run("evening", metadata={"recipe": "talk"})).unwrap()
    (await events.insert("evening", COMPLETED)).unwrap()
    (await metrics.record("evening", points("loss", [2.0, 1.0]))).unwrap()


def databases(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.sqlite")}


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
async def test_a_run_comes_back_as_it_was_told(tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        await keep(SqliteEventStore(tmp_path), SqliteMetricsStore(tmp_path))
    else:
        await keep(JsonlEventStore(tmp_path), JsonlMetricsStore(tmp_path))
    run = (await load_run("evening", runs=tmp_path)).unwrap()
    assert (run.run_id, run.info.metadata, run.events) == ("evening", {"recipe": "talk"}, COMPLETED)
    assert [point.value for point in run.points] == [2.0, 1.0]
    seen = (await glance(find_run("evening", runs=tmp_path).unwrap())).unwrap()
    assert standing_of(seen.events) == standing_of(run.events)
    assert seen.points == run.points


@pytest.mark.parametrize("ending", [".sqlite", ".events.jsonl"])
async def test_a_damaged_file_is_in_the_way_of_no_other_run(tmp_path: Path, ending: str) -> None:
    if ending == ".sqlite":
        await keep(SqliteEventStore(tmp_path), SqliteMetricsStore(tmp_path))
    else:
        await keep(JsonlEventStore(tmp_path), JsonlMetricsStore(tmp_path))
    (tmp_path / f"broken{ending}").write_bytes(b"no run at all\n")
    run = (await load_run("evening", runs=tmp_path)).unwrap()
    assert (run.info.metadata, len(run.points)) == ({"recipe": "talk"}, 2)
    seen = (await glance(find_run("evening", runs=tmp_path).unwrap())).unwrap()
    assert seen.info == run.info
    store = SqliteEventStore(tmp_path) if ending == ".sqlite" else JsonlEventStore(tmp_path)
    assert str((await store.list_runs()).failure()).startswith(str(tmp_path / f"broken{ending}"))


async def test_a_run_with_nothing_but_its_opening_is_a_run(tmp_path: Path) -> None:
    await SqliteEventStore(tmp_path).open_run("begun")
    run = (await load_run("begun", runs=tmp_path)).unwrap()
    assert isinstance(run, LoadedRun)
    assert (run.events, run.points) == ((), ())
    assert standing_of(run.events).state == "open"
    assert (await glance(find_run("begun", runs=tmp_path).unwrap())).unwrap().points == ()


async def test_a_real_run_is_read_with_its_configuration(tmp_path: Path) -> None:
    from anyio import to_thread

    await to_thread.run_sync(train, tmp_path, "real")
    run = (await load_run("real", runs=tmp_path)).unwrap()
    assert run.info.metadata["recipe"] == "talk"
    assert sum(event.name == TrainingStep.NAME for event in run.events) == 8
    assert standing_of(run.events).state == "completed"


async def test_reading_makes_no_file_and_changes_none(tmp_path: Path) -> None:
    await keep(SqliteEventStore(tmp_path), SqliteMetricsStore(tmp_path))
    before = databases(tmp_path)
    (await load_run("evening", runs=tmp_path)).unwrap()
    assert databases(tmp_path) == before


async def test_an_unknown_run_and_a_broken_file_are_values(tmp_path: Path) -> None:
    assert "no run 'x'" in str((await load_run("x", runs=tmp_path)).failure())
    (tmp_path / "torn.events.jsonl").write_text('{"run_id":"torn","metadata":{}}\nnot json\n')
    assert "line 2" in str((await load_run("torn", runs=tmp_path)).failure())
    gone = RunPlace(run_id="gone", folder=tmp_path / "gone", format="sqlite")
    assert (await load_run(gone)).unwrap().events == ()
