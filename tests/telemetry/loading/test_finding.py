"""Runs are found by what a person types, and what is not there is named with what is."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from crucible.effects import Failure
from crucible.telemetry.loading import RunNotFound, RunPlace, SeveralRuns, find_run, find_runs
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore
from tests.telemetry.made import points

pytestmark = pytest.mark.anyio


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Keep three runs: two in folders of their own, one in JSON lines."""
    for run_id in ("talk_1", "talk_2"):
        await SqliteEventStore(tmp_path / run_id).open_run(run_id)
    await JsonlEventStore(tmp_path).open_run("a/b c")
    return tmp_path


def found(asked: str | Path, folder: Path) -> RunPlace:
    return find_run(str(asked), runs=folder).unwrap()


async def test_runs_are_listed_whatever_keeps_them(folder: Path) -> None:
    assert [(place.run_id, place.format) for place in find_runs(folder)] == [
        ("a/b c", "jsonl"),
        ("talk_1", "sqlite"),
        ("talk_2", "sqlite"),
    ]


async def test_a_run_is_found_by_id_by_folder_by_file_and_by_the_beginning_of_its_id(folder: Path) -> None:
    place = RunPlace(run_id="talk_1", folder=folder / "talk_1", format="sqlite")
    assert found("talk_1", folder) == place
    assert found(folder / "talk_1", Path("nowhere")) == place
    assert found(folder / "talk_1" / "talk_1.sqlite", Path("nowhere")) == place
    assert found("a/", folder).run_id == "a/b c"


async def test_an_id_that_begins_another_is_that_run(folder: Path) -> None:
    await SqliteEventStore(folder).open_run("talk")
    assert found("talk", folder).run_id == "talk"


async def test_what_fits_several_runs_names_them(folder: Path) -> None:
    missed = find_run("talk", runs=folder).failure()
    places = tuple(RunPlace(run_id=id_, folder=folder / id_, format="sqlite") for id_ in ("talk_1", "talk_2"))
    assert missed == SeveralRuns(asked="talk", places=places)
    assert str(missed) == "'talk' fits 2 runs: talk_1, talk_2: name one"
    assert isinstance(find_run(str(folder), runs="nowhere").failure(), SeveralRuns)


async def test_an_unknown_id_names_those_that_look_like_it_or_those_that_are_there(folder: Path) -> None:
    assert "did you mean talk_2 or talk_1?" in str(find_run("tak_2", runs=folder).failure())
    assert str(find_run("xyz", runs=folder).failure()).endswith("the runs there are a/b c, talk_1, talk_2")
    assert "has no runs (say where they are with --runs FOLDER)" in str(find_run("x", runs=folder / "no").failure())


async def test_of_many_runs_the_newest_are_named() -> None:
    many = tuple(f"run_{number:03}" for number in range(50))
    text = str(RunNotFound(asked="zzz", folder=Path("runs"), there=many))
    assert text.endswith("run_048, run_049 and 42 others")


async def test_a_database_of_something_else_is_no_run(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "registry.sqlite")) as other:
        other.execute("CREATE TABLE models (id TEXT)")
    (folder / "folder.sqlite").mkdir()
    assert len(find_runs(folder)) == 3
    assert isinstance(find_run(str(folder / "registry.sqlite")), Failure)


async def test_a_damaged_database_is_found_for_what_reads_it_to_say_so(folder: Path) -> None:
    whole = (folder / "talk_1" / "talk_1.sqlite").read_bytes()
    (folder / "talk_1" / "talk_1.sqlite").write_bytes(whole[:5000])
    (folder / "broken.sqlite").write_bytes(b"no database at all")
    assert [place.run_id for place in find_runs(folder)] == ["a/b c", "broken", "talk_1", "talk_2"]
    assert found("talk_1", folder).run_id == "talk_1"


async def test_of_a_run_kept_twice_the_nearest_counts_and_the_database_before_its_lines(folder: Path) -> None:
    await JsonlEventStore(folder / "talk_1").open_run("talk_1")
    await JsonlEventStore(folder).open_run("talk_2")
    assert [(it.run_id, it.format) for it in find_runs(folder)] == [
        ("a/b c", "jsonl"),
        ("talk_1", "sqlite"),
        ("talk_2", "jsonl"),
    ]
    assert found("talk_2", folder).folder == folder


async def test_two_runs_of_one_name_in_two_folders_are_several(folder: Path) -> None:
    await JsonlEventStore(folder / "elsewhere").open_run("talk_1")
    assert isinstance(find_run("talk_1", runs=folder).failure(), SeveralRuns)


async def test_a_run_without_events_is_found_by_its_metrics(tmp_path: Path) -> None:
    await JsonlMetricsStore(tmp_path).record("lone", points("loss", [1.0]))
    assert found("lone", tmp_path) == RunPlace(run_id="lone", folder=tmp_path, format="jsonl")
