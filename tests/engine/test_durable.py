"""A directory is replaced whole: a full disk, a failing call or a kill leaves the old one or the new one."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from crucible.engine import Adam, CheckpointError, LoadedModel, Trainer, remove_directory
from crucible.engine.durable import recover, write_directory
from tests.engine.tiny import LORA, example

OLD, NEW = {"a": b"old a", "b": b"old b"}, {"a": b"new a", "c": b"new c"}


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Make the system refuse to write beyond this size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("exchanges", [True, False])
def test_replaces_all_files_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr("crucible.engine.durable._exchange", lambda left, right: False)
    target = tmp_path / "deep" / "target"
    for files in (OLD, NEW, OLD):
        write_directory(target, files)
        assert content(target) == files
        assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_leaves_the_old_one_and_says_what_to_do(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    with largest_file(1000), pytest.raises(CheckpointError, match=r"whole\. To fix: free at least 0.0 MB"):
        write_directory(target, {"a": b"small", "b": bytes(20_000)})
    assert content(target) == OLD
    assert list(tmp_path.iterdir()) == [target]


def test_a_trainer_on_a_full_disk_keeps_its_checkpoint(tiny: LoadedModel, tmp_path: Path) -> None:
    trainer = Trainer(tiny, LORA)
    trainer.save(tmp_path / "checkpoint")
    trainer.forward_backward([example(9)], "cross_entropy")
    trainer.optim_step(Adam())
    with largest_file(20_000), pytest.raises(CheckpointError, match="free at least"):
        trainer.save(tmp_path / "checkpoint")
    other = Trainer(tiny, LORA)
    other.load(tmp_path / "checkpoint")
    assert (other.step, trainer.step) == (0, 1)


CALLS = ["crucible.engine.durable.os.fsync", "crucible.engine.durable.write_file", "crucible.engine.durable._replace"]


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("at", range(5))
def test_a_call_that_fails_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int, exchanges: bool
) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    if not exchanges:
        monkeypatch.setattr("crucible.engine.durable._exchange", lambda left, right: False)
    with monkeypatch.context() as patch:
        patch.setattr(call, failing(call, at))
        with suppress(CheckpointError):
            write_directory(target, NEW)
    assert content(target) in (OLD, NEW)
    write_directory(target, NEW)
    assert list(tmp_path.iterdir()) == [target]


def failing(name: str, at: int) -> Callable[..., Any]:
    """Give the real function, but its call number `at` reports a full disk."""
    from crucible.engine import durable

    real = os.fsync if name.endswith("fsync") else getattr(durable, name.rpartition(".")[2])
    calls = iter(range(100))

    def call(*args: Any) -> Any:
        if next(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    return call


def test_a_crash_between_two_renames_is_mended(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    target.rename(tmp_path / ".target.previous")
    recover(target)
    assert content(target) == OLD


def test_a_directory_is_removed_and_what_stands_beside_it_stays(tmp_path: Path) -> None:
    for name in ("gone", "kept"):
        write_directory(tmp_path / name, OLD)
    (tmp_path / ".gone.removed").mkdir()  # from a removal that was broken off
    for _ in range(2):
        remove_directory(tmp_path / "gone")
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert content(tmp_path / "kept") == OLD


def test_what_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(CheckpointError, match="was not removed"):
        remove_directory(tmp_path / "file")


def test_a_parent_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="check the path"):
        write_directory(tmp_path / "file" / "target", NEW)


WRITER = """
import sys
from pathlib import Path
from crucible.engine.durable import write_directory
for number in range(10**6):
    digit = str(number % 10).encode()
    write_directory(Path(sys.argv[1]), {name: digit * 50_000 for name in "abcd"})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_directory(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for attempt in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout:
            writer.stdout.readline()
            time.sleep(0.004 * attempt)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        files = content(target)
        assert sorted(files) == list("abcd")
        assert len(set(files.values())) == 1
        assert {len(one) for one in files.values()} == {50_000}
