"""What is left when a run is interrupted, killed or out of disk: whole checkpoints and readable telemetry."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crucible.effects import perform
from crucible.kitchen.handlers.torch import TorchBackend, TorchTraining
from crucible.telemetry.events import WorkflowFailed
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore
from crucible.train.ports import TrainingClient
from crucible.train.types import LoraConfig, SessionConfig
from tests.sources import ROOT

pytestmark = pytest.mark.slow  # each test starts a process that imports torch


@contextmanager
def running(model: str, root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the long run in a process of its own; it does not outlive the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kitchen.handlers.torch.killable", model, str(root), *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    """Wait until the run has made what has this name in front."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(f"{name}_*")):
        assert process.poll() is None, f"the run ended before: {process.communicate()}"
        assert time.monotonic() < deadline, f"{name} does not come"
        time.sleep(0.05)


def losses(root: Path) -> list[int]:
    """Read the steps whose loss is in the store; there is nothing torn in it."""
    store = JsonlMetricsStore(root)
    points = MetricsStore.handled_by(store).run(perform(MetricsStore.read, "run", name="loss")).unwrap()
    assert store.torn_tails == ()
    return [point.step or 0 for point in points]


def events(root: Path) -> list[str]:
    """Read the names of the events, and check that numbers were given in order."""
    found = EventStore.handled_by(JsonlEventStore(root)).run(perform(EventStore.query, "run")).unwrap()
    assert [event.sequence for event in found] == sorted(event.sequence for event in found)
    return [event.name for event in found]


def last_step(backend: TorchBackend, model: str, root: Path) -> int:
    """Go on from the newest checkpoint; give its step."""
    newest = max((root / "checkpoints").glob("step_*"))
    config = SessionConfig(model=model, lora=LoraConfig(rank=4, seed=1))
    restoring = perform(TrainingClient.restore_session, config, str(newest))
    session = TrainingClient.handled_by(TorchTraining(backend)).run(restoring).unwrap()
    assert newest.name.startswith(f"step_{session.step:06d}_")
    return session.step


def test_ctrl_c_closes_the_session_and_keeps_everything(
    tiny_folder: str, shared_backend: TorchBackend, root: Path
) -> None:
    with running(tiny_folder, root) as process:
        wait_for(root / "checkpoints", "step_000012", process)
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
        assert time.monotonic() - pressed < 15  # 3 seconds on a busy machine, most of it the end of torch
    assert process.returncode != 0
    assert errors.strip().splitlines()[-1].startswith("KeyboardInterrupt")
    calls = (root / "calls").read_text().splitlines()
    assert calls[-3:].count("TrainingClient.close_session") == 1
    steps = losses(root)
    assert steps == list(range(1, len(steps) + 1))
    saved = last_step(shared_backend, tiny_folder, root)
    assert 12 <= saved <= len(steps) <= saved + 4
    assert WorkflowFailed.NAME in events(root)


def test_a_kill_leaves_the_last_checkpoint_whole_and_the_telemetry_readable(
    tiny_folder: str, shared_backend: TorchBackend, root: Path
) -> None:
    with running(tiny_folder, root) as process:
        wait_for(root / "checkpoints", "step_000008", process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=240)
    steps = losses(root)
    assert steps == list(range(1, len(steps) + 1))
    assert last_step(shared_backend, tiny_folder, root) >= 8
    assert len(steps) >= 8
    assert WorkflowFailed.NAME not in events(root)


def test_a_full_disk_ends_the_run_in_words_and_leaves_the_last_checkpoint_whole(
    tiny_folder: str, shared_backend: TorchBackend, root: Path
) -> None:
    with running(tiny_folder, root, "40000") as process:
        said, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (1, "")
    assert "save_checkpoint" in said
    assert "step_000008" in said
    assert "was not written (File too large)" in said
    assert "To fix: free at least" in said
    assert [one.name[:11] for one in (root / "checkpoints").iterdir()] == ["step_000004"]
    assert last_step(shared_backend, tiny_folder, root) == 4
    assert (root / "calls").read_text().splitlines()[-1] == "EventStore.insert"
    assert "TrainingClient.close_session" in (root / "calls").read_text()
