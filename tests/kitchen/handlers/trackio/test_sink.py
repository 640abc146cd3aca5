"""Trackio as a sink: its own storage and API find what was written."""

import subprocess
import sys
from pathlib import Path

import pytest

from crucible.effects import Failure
from crucible.kitchen.handlers import trackio
from crucible.testing import check_sink
from crucible.testing.sinks import sink_point
from tests.kitchen.handlers.trackio.reading import FOLDER, read_run

DYING = """
import os, signal
from crucible.kitchen.handlers import trackio
from crucible.testing.sinks import sink_point
run = trackio.sink("dying", folder={folder!r}).open("run").unwrap()
run.write([sink_point(step, 1.0, step=step) for step in range(100)], [])
run.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_keeps_the_contract() -> None:
    check_sink(
        lambda: trackio.sink("contract", folder=FOLDER), lambda run_id: read_run("contract", run_id), patience_seconds=0
    )


def test_reserved_names_are_kept_under_another() -> None:
    run = trackio.sink("reserved").open("run").unwrap()
    run.write([sink_point(0, 5.0, name="step", step=3), sink_point(1, 6.0, name="time", step=3)], [])
    assert read_run("reserved", "run").points == {"__step": [(3, 5.0)], "__time": [(3, 6.0)]}


def test_what_is_written_again_is_not_doubled() -> None:
    run = trackio.sink("twice").open("run").unwrap()
    for _ in range(2):
        run.write([sink_point(0, 5.0, step=3)], [])
    assert read_run("twice", "run").points == {"loss": [(3, 5.0)]}


@pytest.mark.slow
def test_what_was_flushed_survives_a_kill() -> None:
    died = subprocess.run([sys.executable, "-c", DYING.format(folder=str(FOLDER))], check=False)
    assert died.returncode == -9
    assert len(read_run("dying", "run").points["loss"]) == 100


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one folder in a process"):
        trackio.sink("project", folder=tmp_path)


def test_a_project_that_trackio_refuses_is_an_error() -> None:
    opened = trackio.sink("registry-mine").open("run")
    assert isinstance(opened, Failure)
    assert "reserved" in str(opened.failure())


def test_what_the_sdk_raises_is_an_error() -> None:
    run = trackio.sink("broken").open("run").unwrap()
    (FOLDER / "broken.db").write_text("no database, however one looks at it")
    result = run.write([sink_point(0, 1.0, step=0)], [])
    assert isinstance(result, Failure)
    assert "DatabaseError" in str(result.failure())


def test_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ModuleNotFoundError, match=r"crucible-llm\[trackio\]"):
        trackio.sink("project")
