"""W&B as a sink, offline: what its process wrote is read record by record."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crucible.effects import Failure
from crucible.kitchen.handlers import wandb
from crucible.telemetry.sinks import Ending
from crucible.testing import check_sink
from crucible.testing.sinks import sink_point
from tests.kitchen.handlers.wandb.reading import read_run, records

pytestmark = pytest.mark.slow  # W&B starts a process of its own


def whole_run(place: Path) -> list[Any]:
    """Read the records of the only run, when W&B's process has written the last."""
    [path] = place.glob("wandb/offline-run-*/run-run.wandb")
    found: list[Any] = []
    for _ in range(200):
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.05)
    raise AssertionError(f"W&B has not ended its file: {found}")


def test_keeps_the_contract(tmp_path: Path) -> None:
    check_sink(lambda: wandb.sink("project", folder=tmp_path), lambda run_id: read_run(tmp_path, run_id))


def test_writes_nowhere_else_and_looks_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here, place = tmp_path / "home", tmp_path / "here", tmp_path / "place"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    run = wandb.sink("project", folder=place, tags=("first",)).open("run").unwrap()
    run.write([sink_point(0, 1.0, step=0)], [])
    run.close("completed")
    assert (list(home.iterdir()), list(here.iterdir())) == ([], [])
    found = whole_run(place)
    [about] = [record.run for record in found if record.run.run_id]
    assert (about.project, about.run_id, about.display_name, list(about.tags)) == ("project", "run", "run", ["first"])
    assert about.git.remote_url == ""
    kinds = {record.WhichOneof("record_type") for record in found}
    assert not kinds & {"output", "output_raw", "stats", "environment"}
    assert list(place.glob("wandb/offline-run-*/files/*")) == []


@pytest.mark.parametrize(("ending", "code"), [("completed", 0), ("failed", 1), ("interrupted", 130)])
def test_the_exit_code_says_how_the_run_ended(tmp_path: Path, ending: Ending, code: int) -> None:
    run = wandb.sink("project", folder=tmp_path).open("run").unwrap()
    run.close(ending)
    assert whole_run(tmp_path)[-1].exit.exit_code == code


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    opened = wandb.sink("project", folder=tmp_path / "file").open("run")
    assert isinstance(opened, Failure)
    assert "FileExistsError" in str(opened.failure())


def test_what_the_sdk_raises_is_an_error(tmp_path: Path) -> None:
    run = wandb.sink("project", folder=tmp_path).open("run").unwrap()
    run.close("completed")
    result = run.write([sink_point(0, 1.0, step=0)], [])
    assert isinstance(result, Failure)
    assert "finished" in str(result.failure())


def test_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"crucible-llm\[wandb\]"):
        wandb.sink("project")
