"""Experiments on Tinker servers that differ, by the command line: planned, trained, refused."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible.cli import main
from crucible.kitchen.handlers import torch
from crucible.testing.tinker_server import Deviations, Server, serve
from tests.kitchen.handlers.torch.tiny import save_tiny


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Save a tiny model; give its folder."""
    return save_tiny(tmp_path / "model")


@contextmanager
def serving(model: str, root: Path, monkeypatch: pytest.MonkeyPatch, deviations: Deviations) -> Iterator[Server]:
    monkeypatch.setenv("CRUCIBLE_CACHE", str(root / "cache"))
    with serve(torch.local(root / "served", num_threads=1), models=[model], faults=[deviations]) as server:
        monkeypatch.setenv("TINKER_API_KEY", server.api_key)
        yield server


def spec_of(folder: Path, model: str, backend: dict[str, object]) -> Path:
    """Write an experiment of preferences on a backend."""
    rows = folder / "pairs.jsonl"
    pairs = [{"prompt": f"{n}+1?", "chosen": f"{n + 1}.", "rejected": f"{n} or so"} for n in range(4)]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    spec = {
        "schema": 1,
        "id": "preferred",
        "model": {"id": model},
        "backend": backend,
        "dataset": {"name": str(rows), "provider": "file"},
        "training": {"method": "preference", "batch_size": 2, "learning_rate": 1e-3, "epochs": 2},
    }
    file = folder / "experiment.json"
    file.write_text(json.dumps(spec))
    return file


def test_preferences_are_planned_and_trained_on_a_server_that_averages_as_on_this_machine(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(model, tmp_path, monkeypatch, Deviations(averages=True)) as server:
        spec = spec_of(tmp_path, model, {"id": "tinker", "options": {"base_url": server.url}})
        assert main(["plan", str(spec)]) == 0
        assert f"a Tinker server at {server.url}; what it can do is probed at the start" in capsys.readouterr().out
        assert main(["run", str(spec), "--runs", str(tmp_path / "far")]) == 0
        said = capsys.readouterr()
        assert "losses are mean, sent so that they are sums" in said.out + said.err
        assert main(["plan", str(spec)]) == 0
        assert "probed before: losses: mean, sent so that they are sums" in capsys.readouterr().out
    here = spec_of(tmp_path, model, {"id": "torch", "options": {"num_threads": 1}})
    assert main(["run", str(here), "--runs", str(tmp_path / "here")]) == 0
    far, near = (losses_in(tmp_path / name, capsys) for name in ("far", "here"))
    assert len(far) == 4
    assert far == pytest.approx(near, rel=1e-4)


def losses_in(runs: Path, capsys: pytest.CaptureFixture[str]) -> list[float]:
    """Read the losses of the one run in a folder."""
    capsys.readouterr()
    (run,) = (path.name for path in runs.iterdir() if path.is_dir())
    points = runs / "points.jsonl"
    assert main(["export", run, "--runs", str(runs), "--to", str(points)]) == 0
    capsys.readouterr()
    told = [json.loads(line) for line in points.read_text().splitlines()]
    return [point["value"] for point in told if point["metric"] == "preference/loss"]


def test_preferences_are_refused_where_nothing_tells_what_a_server_makes_of_losses(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(model, tmp_path, monkeypatch, Deviations(lacks=["grad_norm"])) as server:
        spec = spec_of(tmp_path, model, {"id": "tinker", "options": {"base_url": server.url}})
        assert main(["run", str(spec), "--runs", str(tmp_path / "runs")]) == 1
        said = capsys.readouterr()
        text = said.out + said.err
        assert "does not support custom losses" in text
        assert server.url in text
        assert "backend.options.probe" in text
        spec = spec_of(tmp_path, model, {"id": "tinker", "options": {"base_url": server.url, "probe": "never"}})
        assert main(["run", str(spec), "--runs", str(tmp_path / "runs")]) == 0
