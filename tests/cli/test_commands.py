"""The commands as a person types them: what they write, where they complain, and with which exit status."""

import csv
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from crucible.cli import _main as program
from crucible.cli import main
from crucible.cli._commands import COMMANDS
from crucible.cli._main import perform_command
from crucible.cli._outcome import Command, Group, Outcome
from crucible.effects import Failure, Success, perform
from crucible.telemetry.experiments import Design, add_run, start_experiment
from crucible.telemetry.ports import EventStore
from crucible.telemetry.stores import SqliteEventStore
from crucible.telemetry.types import EventRecord
from tests.telemetry.made import FAILED, UNENDED, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep two real runs."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(folder, f"talk_{seed}", seed=seed)
    return folder


def keep(folder: Path, run_id: str, events: Sequence[EventRecord]) -> None:
    """Keep a run of these events."""
    store = EventStore.handled_by(SqliteEventStore(folder))
    store.run(perform(EventStore.open_run, run_id)).unwrap()
    store.run(perform(EventStore.insert, run_id, events)).unwrap()


def typed(*words: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    environment = {**variables, "PATH": "", "COLUMNS": "100", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "crucible", *map(str, words)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


def said(capsys: pytest.CaptureFixture[str], *words: str | Path, status: int = 0) -> str:
    """Run a command in this process; give what it wrote, of which an error is one line."""
    assert main(list(map(str, words))) == status
    written = capsys.readouterr()
    if status:
        assert written.out == ""
        assert re.fullmatch(r"crucible: [^\n]+\n", written.err)
        return written.err
    assert written.err == ""
    return written.out


# The real thing


@pytest.mark.slow
def test_each_exit_status_of_the_real_command(runs: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        listed, helped, unknown, usage, missing = pool.map(
            lambda words: typed(*words, cwd=tmp_path),
            [
                ("runs", "--runs", runs),
                ("--help",),
                ("report", "talk_7", "--runs", runs),
                ("reprot", "talk_1"),
                ("export", "talk_1", "--runs", runs),
            ],
        )
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[:4] for line in listed.stdout.splitlines()[1:]] == [
        [f"talk_{seed}", "talk", "completed", "8"] for seed in (0, 1)
    ]
    assert (helped.returncode, helped.stderr) == (0, "")
    assert all(name in helped.stdout for name in COMMANDS)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == f"crucible: no run 'talk_7' in {runs}: did you mean talk_1 or talk_0?\n"
    for wrong in (usage, missing):
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "Traceback" not in wrong.stderr
    assert "--to" in missing.stderr


@pytest.mark.slow
def test_a_report_and_a_frame_through_the_real_command(runs: Path, tmp_path: Path) -> None:
    done = typed("report", "talk_0", "talk_1", "--runs", runs, "--title", "An evening", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"report\.html \(\d+ kB\)\n", done.stdout)
    page = (tmp_path / "report.html").read_text()
    assert "<h1>An evening</h1>" in page
    assert page.count('class="curve c1"') >= 3
    frame = typed("watch", runs / "talk_0", "--once", cwd=tmp_path)
    assert (frame.returncode, frame.stderr) == (0, "")
    assert "completed" in frame.stdout
    assert "\x1b" not in frame.stdout


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error(runs: Path) -> None:
    command = f"{sys.executable} -m crucible compare talk_0 talk_1 --runs {runs} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", command], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


# Commands


def test_runs_are_listed_by_their_start(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    header, first, second = said(capsys, "runs", "--runs", runs).splitlines()
    assert header.split() == ["run", "recipe", "state", "steps", "newest", "started"]
    assert re.fullmatch(r"talk_0 +talk +completed +8 +loss \d\.\d+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first)
    assert second.startswith("talk_1")


def test_a_run_that_cannot_be_read_is_listed_as_such(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "torn.events.jsonl").write_text('{"run_id":"torn","metadata":{}}\nnot json\n')
    (tmp_path / "other.sqlite").write_text("no database")
    keep(tmp_path, "whole", FAILED)
    _, other, torn, whole, empty, *problems = said(capsys, "runs", "--runs", tmp_path).splitlines()
    assert [line.split()[:2] for line in (other, torn)] == [["other", "unreadable"], ["torn", "unreadable"]]
    assert whole.startswith("whole")
    assert empty == ""
    assert [problem.partition(" no ")[0].rpartition("/")[2] for problem in problems] == [
        "other.sqlite: file is not a database: move the file away, or bring it back from a copy: it is damaged, or",
        "torn.events.jsonl, line 2:",
    ]


def test_a_run_that_goes_on_and_one_that_fell_silent_are_told_apart(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keep(tmp_path, "dead", UNENDED)
    keep(tmp_path, "alive", [attrs.evolve(event, timestamp=datetime.now(UTC)) for event in UNENDED])
    _, dead, alive = said(capsys, "runs", "--runs", tmp_path).splitlines()
    assert re.match(r"dead +silent for \d+ h \d+ min +0 ", dead)
    assert re.match(r"alive +running +0 ", alive)


def test_a_report_of_a_beginning_or_a_folder_of_several_runs_is_one_of_all(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    for words in (("talk", "--runs", runs), (runs,), ("talk_1", "talk", "--runs", runs)):
        said(capsys, "report", *words, "--to", page)
        assert page.read_text().count('<article class="card') == 2


def test_an_experiment_is_no_run_to_watch_or_export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store = EventStore.handled_by(SqliteEventStore(tmp_path))
    store.run(start_experiment(Design(name="seeds"), experiment_id="exp")).unwrap()
    assert "exp is an experiment: " in said(capsys, "watch", "exp", "--once", "--runs", tmp_path, status=1)
    words = ("export", "exp", "--runs", tmp_path, "--to", tmp_path / "points.CSV")
    assert "exp is an experiment, and has no points" in said(capsys, *words, status=1)
    assert said(capsys, *words, "--events").startswith("1 events: ")


def test_a_run_is_not_looked_at_without_end(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    for interval in ("0", "-1"):
        assert "more than 0" in said(capsys, "watch", "talk_0", "--runs", runs, "--interval", interval, status=1)


def test_a_report_of_a_folder_is_one_of_its_runs_and_not_of_its_experiments(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = EventStore.handled_by(SqliteEventStore(tmp_path))
    for number in (1, 2):
        store.run(start_experiment(Design(name="seeds"), experiment_id=f"exp_{number}")).unwrap()
    words = ("report", tmp_path, "--to", tmp_path / "page.html")
    assert "the experiments have no runs yet" in said(capsys, *words, status=1)
    keep(tmp_path, "lone", FAILED)
    said(capsys, *words)
    assert (tmp_path / "page.html").read_text().count('<article class="card') == 1


def test_a_report_of_an_experiment_is_one_of_its_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tmp_path, f"talk_{seed}", seed=seed)
    store = EventStore.handled_by(SqliteEventStore(tmp_path))
    store.run(start_experiment(Design(name="seeds"), experiment_id="exp")).unwrap()
    words = ("report", "exp", "--runs", tmp_path, "--to", tmp_path / "page.html")
    assert said(capsys, *words, status=1) == "crucible: experiment exp has no runs yet\n"
    for run_id in ("talk_0", "talk_1"):
        store.run(add_run("exp", run_id)).unwrap()
    said(capsys, *words[:2], "talk_1", *words[2:])
    page = (tmp_path / "page.html").read_text()
    assert "<h1>talk_0 and talk_1</h1>" in page
    assert "configuration" in page


def test_no_runs_and_no_folder_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "has no runs" in said(capsys, "runs", "--runs", tmp_path, status=1)
    assert "no such folder" in said(capsys, "runs", "--runs", tmp_path / "x", status=1)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "md", "parquet"])
def test_points_and_events_are_exported(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path, ending: str
) -> None:
    points, events = tmp_path / f"points.{ending}", tmp_path / f"events.{ending}"
    assert "points: " in said(capsys, "export", "talk_0", "--runs", runs, "--to", points)
    assert "events: " in said(capsys, "export", "talk_0", "--runs", runs, "--to", events, "--events")
    assert points.stat().st_size > 500
    if ending == "csv":
        rows = list(csv.DictReader(points.read_text().splitlines()))
        assert [row["step"] for row in rows if row["metric"] == "loss"] == list("12345678")
        assert events.read_text().startswith("run_id,sequence,event,")


def test_what_cannot_be_exported_is_said(capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path) -> None:
    assert "no export has the ending '.xls'" in said(
        capsys, "export", "talk_0", "--runs", runs, "--to", tmp_path / "x.xls", status=1
    )
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "x.csv"
    for command in ("export", "report"):
        assert str(below) in said(capsys, command, "talk_0", "--runs", runs, "--to", below, status=1)


def test_two_runs_are_compared_metric_by_metric(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    lines = said(capsys, "compare", "talk_0", "talk_1", "--runs", runs).splitlines()
    assert {"loss", "grad_norm", "eval/accuracy"} <= {line.split()[0] for line in lines[1:] if line}
    assert "not between seeds" in lines[-1]
    one = said(capsys, "compare", "talk_0", "talk_1", "--runs", runs, "--metric", "loss").splitlines()
    assert [line.split()[0] for line in one[:2]] == ["metric", "loss"]
    refused = said(capsys, "compare", "talk_0", "talk_1", "--runs", runs, "--metric", "los", status=1)
    assert "no metric 'los' in both runs: they share" in refused


def test_every_command_that_takes_a_run_names_those_there_are(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    for words in (["report", "x"], ["watch", "x"], ["export", "x", "--to", "y.csv"], ["compare", "talk_0", "x"]):
        assert "the runs there are talk_0, talk_1" in said(capsys, *words, "--runs", runs, status=1)


def test_watching_a_run_that_ended_shows_its_end(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    assert "completed" in said(capsys, "watch", "talk_0", "--runs", runs)


def test_watching_a_run_that_fails_ends_with_its_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep(tmp_path, "sad", FAILED)
    assert main(["watch", "sad", "--runs", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "crucible: sad failed in sft/load: no rows in 'talk'\n"
    assert main(["watch", "sad", "--once", "--runs", str(tmp_path)]) == 0


def test_patience_with_a_silent_run_ends(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keep(tmp_path, "quiet", UNENDED)
    assert main(["watch", "quiet", "--patience", "2", "--interval", "0.01", "--runs", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "crucible: quiet has told nothing for 2 s\n"


@pytest.mark.parametrize("command", ["watch", "report", "export", "compare"])
def test_a_broken_file_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    (tmp_path / "torn.events.jsonl").write_text('{"run_id":"torn","metadata":{}}\nnot json\n')
    more = {"export": ["--to", "x.csv"], "compare": ["torn"]}.get(command, [])
    assert "line 2" in said(capsys, command, "torn", *more, "--runs", tmp_path, status=1)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    words = ("report", "talk_0", "--runs", runs, "--to", tmp_path / "x.html")
    assert "pip install 'crucible-llm[cli]'" in said(capsys, *words, status=1)


@pytest.mark.slow
def test_a_report_is_shown_in_the_browser_that_the_person_uses(runs: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    done = typed("report", "talk_0", "--runs", runs, "--show", cwd=tmp_path, BROWSER=f"{browser} %s")
    assert done.returncode == 0
    assert (tmp_path / "shown").read_text() == f"{(tmp_path / 'report.html').as_uri()}\n"


# The program


def greet(name: str, /) -> Outcome:
    """Greet somebody."""
    return Failure(f"{name} is not here") if name == "nobody" else Success(f"hello {name}")


def test_commands_of_a_group_are_reached_through_it_and_listed_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    commands: Mapping[str, Command | Group] = {
        "say": Group(about="Says things.", commands={"hi": greet, "hello": greet})
    }
    assert perform_command(["say", "hi", "ada"], commands, prog="p", about="") == Success("hello ada")
    assert perform_command(["say", "hi", "nobody"], commands, prog="p", about="") == Failure("nobody is not here")
    for words, shown in ((["say"], "Greet somebody."), ([], "Says things."), (["say", "hi", "--help"], "p say hi")):
        with pytest.raises(SystemExit, match="0"):
            perform_command(words, {**commands, "greet": greet}, prog="p", about="")
        assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (KeyboardInterrupt(), 130, ""),
        (
            ModuleNotFoundError("No module named 'scipy'"),
            1,
            "crucible: No module named 'scipy': pip install 'crucible-llm[cli]'\n",
        ),
    ],
)
def test_an_interrupt_and_a_missing_package_are_no_traceback(
    capsys: pytest.CaptureFixture[str], raised: BaseException, status: int, words: str
) -> None:
    def broken() -> Outcome:
        """Break."""
        raise raised

    assert program.run_command(["a"], {"a": broken, "b": greet}) == status
    assert capsys.readouterr().err == words


def test_the_help_of_each_command_describes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        text = capsys.readouterr().out
        assert f"usage: crucible {name}" in text
        assert "(default: )" not in text
