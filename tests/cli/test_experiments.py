"""`crucible experiment`: a life of an experiment from the command line, and what it says when something is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.cli import main
from crucible.effects import perform
from crucible.telemetry.experiments import Design, add_run, read_archive, start_experiment
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, SqliteEventStore, SqliteMetricsStore
from tests.telemetry.test_stores import plain


def said(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    assert main(["experiment", *words, "--runs", str(folder)]) == 0
    return capsys.readouterr().out.strip()


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    assert main(["experiment", *words, "--runs", str(folder)]) == 1
    return capsys.readouterr().err.strip()


def with_a_run(folder: Path, experiment_id: str) -> None:
    stores = EventStore.handled_by(SqliteEventStore(folder)) | MetricsStore.handled_by(SqliteMetricsStore(folder))
    stores.run(add_run(experiment_id, "run-1")).unwrap()
    stores.run(perform(EventStore.open_run, "run-1", metadata={"recipe": "sft"})).unwrap()
    stores.run(perform(MetricsStore.record, "run-1", plain(3))).unwrap()


@pytest.mark.slow
def test_the_real_command_starts_and_lists(tmp_path: Path) -> None:
    def command(*words: str) -> str:
        line = [sys.executable, "-m", "crucible", "experiment", *words]
        return subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path).stdout

    id_ = command("start", "learning rate", "--tags", "night", "--sample-size", "3").strip()
    listed = command("list", "--tag", "night")
    assert re.search(rf"{id_} +learning rate +default +running +0/3 +night +2", listed)


def test_a_life(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = said(capsys, tmp_path, "start", "lr", "--hypothesis", "1e-4 wins", "--condition", "treated", "--seed", "7")
    with_a_run(tmp_path, id_)
    assert said(capsys, tmp_path, "pause", id_) == f"{id_} is paused"
    assert said(capsys, tmp_path, "resume", id_[:12]) == f"{id_} is running"
    assert said(capsys, tmp_path, "tag", id_, "best", "night") == f"{id_} has the tags best, night"
    assert said(capsys, tmp_path, "tag", id_, "--remove", "best", "night") == f"{id_} has no tags"
    assert said(capsys, tmp_path, "stop", id_) == f"{id_} is stopped"
    shown = said(capsys, tmp_path, "show", id_)
    assert re.search(r"hypothesis +1e-4 wins\ncondition +treated\nstatus +stopped\n", shown)
    assert "0 s (pauses: 1)" in shown
    assert re.search(r"runs +run-1$", shown)
    assert re.search(r"\nseed +7\n", shown)
    assert "sample size" not in shown
    archived = said(capsys, tmp_path, "archive", id_, "--to", str(tmp_path / "archive"), "--delete-runs")
    assert archived == f"{id_} is archived in {tmp_path / 'archive'} (runs: 1)"
    [run] = read_archive(tmp_path / "archive").unwrap().runs
    assert run.points == tuple(plain(3))
    assert "archived" in said(capsys, tmp_path, "list", "--status", "archived")
    assert said(capsys, tmp_path, "list", "--status", "running") == "no experiments"


def test_experiments_are_not_listed_as_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = said(capsys, tmp_path, "start", "lr")
    with_a_run(tmp_path, id_)
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "run-1" in listed
    assert id_ not in listed


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no experiment 'x'" in refused(capsys, tmp_path, "show", "x")
    assert "--runs FOLDER" in refused(capsys, tmp_path, "show", "x")
    first = said(capsys, tmp_path, "start", "lr")
    said(capsys, tmp_path, "start", "lr")
    assert "'exp_' fits several: there are exp_" in refused(capsys, tmp_path, "stop", "exp_")
    assert refused(capsys, tmp_path, "resume", first).endswith("it is running: it goes on already")
    assert "stop it first" in refused(capsys, tmp_path, "archive", first, "--to", str(tmp_path / "it"))
    assert "no tag" in refused(capsys, tmp_path, "tag", first)
    for words in (["start", ""], ["start", "lr", "--sample-size", "0"]):
        assert "needs a name" in refused(capsys, tmp_path, *words)
    (tmp_path / "broken.sqlite").write_text("no database, but longer than a header of one would have to be" * 9)
    assert "broken.sqlite: file is not a database" in refused(capsys, tmp_path, "pause", "exp_")


def test_a_folder_of_json_lines_is_used_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = EventStore.handled_by(JsonlEventStore(tmp_path))
    store.run(start_experiment(Design(name="lr"), experiment_id="exp")).unwrap()
    assert said(capsys, tmp_path, "stop", "exp") == "exp is stopped"
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no/such: no such folder" in refused(capsys, tmp_path / "no" / "such", "list")
    assert said(capsys, tmp_path, "list") == "no experiments"


def test_an_archive_without_its_runs_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    id_ = said(capsys, tmp_path, "start", "lr")
    store = EventStore.handled_by(SqliteEventStore(tmp_path))
    store.run(add_run(id_, "run-1")).unwrap()
    EventStore.handled_by(SqliteEventStore(tmp_path / "run-1")).run(perform(EventStore.open_run, "run-1")).unwrap()
    said(capsys, tmp_path, "stop", id_)
    words = ("archive", id_, "--to", str(tmp_path / "archive"))
    assert f"run-1 is kept in {tmp_path / 'run-1'}" in refused(capsys, tmp_path, *words)
    assert not (tmp_path / "archive").exists()
    for file in (tmp_path / "run-1").iterdir():
        file.rename(tmp_path / file.name)
    said(capsys, tmp_path, *words)
    assert [run.info.run_id for run in read_archive(tmp_path / "archive").unwrap().runs] == ["run-1"]


def test_a_damaged_file_is_in_the_way_of_no_experiment_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = said(capsys, tmp_path, "start", "lr")
    (tmp_path / "broken.sqlite").write_text("no database")
    assert said(capsys, tmp_path, "pause", id_) == f"{id_} is paused"
    assert f"{tmp_path / 'broken.sqlite'}: file is not a database" in refused(capsys, tmp_path, "list")
