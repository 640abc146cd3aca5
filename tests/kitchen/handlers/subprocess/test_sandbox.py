"""What a program cannot do in its sandbox. Each test is a program that tries."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from crucible.effects import Handlers, perform, timeout
from crucible.kitchen.handlers import subprocess
from crucible.kitchen.handlers.subprocess import Guarantee, Sandbox
from crucible.kitchen.handlers.subprocess._workspace import holds_more, make_workspace, remove_workspace
from crucible.testing import check_code_client
from crucible.train.errors import NotFound, Unsupported
from crucible.train.ports import CodeClient
from crucible.train.types import CodeLimits, CodeProgram, CodeRun

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of what Linux offers")

HERE = subprocess.code()


def ran(source: str, *, limits: CodeLimits = CodeLimits(), by: Handlers[CodeClient] = HERE) -> CodeRun:
    return by.run(perform(CodeClient.run, CodeProgram(source=source, limits=limits))).unwrap()


def said(source: str) -> str:
    run = ran(source)
    assert run.succeeded, run.stderr
    return run.stdout.strip()


def attempts(*lines: str) -> str:
    """Write a program that tries each line and prints the error it got, or that it got none."""
    tried = "\n".join(
        f"try:\n    {line}\n    print('done')\nexcept Exception as e: print(type(e).__name__)" for line in lines
    )
    return f"import ctypes, fcntl, os, pathlib, signal, subprocess, sys\n{tried}"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_sandbox_keeps_the_contract() -> None:
    check_code_client(lambda: HERE)


def test_nothing_outside_can_be_read() -> None:
    secret = Path(__file__)
    lines = [
        f"open({place!r}).read()" for place in (str(secret), "/etc/passwd", "/proc/self/environ", "/proc/1/cmdline")
    ]
    assert said(attempts(*lines, "os.listdir('/')", "os.listdir('..')")).split() == ["PermissionError"] * 6


def test_a_link_leads_nowhere() -> None:
    assert said(attempts("os.symlink('/etc/passwd', 'l'); open('l').read()")) == "PermissionError"
    hard = attempts("os.link('/etc/localtime', 'l')", f"os.link({__file__!r}, 'm')")
    assert "done" not in said(hard)


def test_the_environment_of_the_parent_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    names = said("import os\nprint(*sorted(os.environ))").split()
    assert names == ["HOME", "LANG", "PYTHONHASHSEED", "PYTHONUTF8", "TMPDIR"]


def test_the_parent_is_out_of_reach() -> None:
    tried = attempts(
        "os.kill(os.getppid(), 0)",
        f"os.kill({os.getpid()}, signal.SIGKILL)",
        "os.killpg(0, 0) if os.getpgid(0) != os.getpid() else os.kill(-1, 9)",
        "os.setsid()",
        "os.setpgid(0, 0)",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
        "os.sched_setaffinity(os.getppid(), {0})",
        "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())",
        "fcntl.fcntl(0, 10, signal.SIGKILL)",
    )
    assert said(tried).split() == ["PermissionError"] * 9


def test_what_landlock_does_not_guard_is_refused_all_the_same(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    kept.chmod(0o600)
    place = repr(str(kept))
    tried = attempts(
        f"os.chmod({place}, 0o777)",
        f"os.utime({place}, (0, 0))",
        f"os.truncate({place}, 0)",
        f"os.chown({place}, 1, 1)",
        f"os.setxattr({place}, 'user.a', b'1')",
        f"os.unlink({place})",
        f"os.rename({place}, 'mine')",
    )
    assert said(tried).split() == ["PermissionError"] * 7
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("as it was", 0o600)
    kept.unlink()


def test_nothing_but_python_is_started() -> None:
    tried = attempts(
        "os.execv('/bin/sh', ['sh', '-c', 'echo out'])", "subprocess.run(['ls'])", "os.posix_spawn('/bin/ls', [], {})"
    )
    assert "done" not in said(tried)
    again = ran(
        "import os, sys\nif len(sys.argv) < 2: os.execv(sys.executable, [sys.executable, 'main.py', 'x'])\nopen('/etc/passwd')"
    )
    assert "PermissionError" in again.stderr


def test_no_capability_is_left() -> None:
    source = """
import ctypes, struct
header, data = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0)), ctypes.create_string_buffer(24)
print(ctypes.CDLL(None).capget(header, data), any(data.raw))
"""
    assert said(source) == "0 False"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")
@pytest.mark.parametrize(
    ("name", "number"),
    [("io_uring_setup", 425), ("clone3", 435), ("unshare", 272), ("ptrace", 101), ("bpf", 321), ("memfd_create", 319),
     ("shmget", 29), ("of the future", 460), ("socket by the 32-bit table", 0x4000_0029)],
)  # fmt: skip
def test_a_system_call_that_leads_out_is_refused(name: str, number: int) -> None:
    source = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall({number}, 0, 0, 0, 0, 0), ctypes.get_errno())
"""
    assert said(source) in {"-1 1", "-1 38"}


def test_threads_and_event_loops_still_work() -> None:
    source = """
import asyncio, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
async def loop():
    await asyncio.sleep(0)
    return "loop"
print(asyncio.run(loop()))
"""
    assert said(source).split() == ["thread", "loop"]


def test_an_exit_code_cannot_pass_for_a_fault_of_the_sandbox() -> None:
    run = ran("import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{}')\n    except OSError: pass\nos._exit(1)")
    assert (run.ending, run.exit_code) == ("exited", 1)


def test_a_signal_is_told_from_an_exit() -> None:
    run = ran("import os\nos.abort()")
    assert (run.ending, run.exit_code) == ("killed", None)


def test_the_same_program_prints_the_same_set() -> None:
    source = "print({'a', 'b', 'c', 'd', 'e'})"
    assert said(source) == said(source)


def test_a_folder_of_any_depth_is_removed() -> None:
    limits = CodeLimits(disk_bytes=2**26, wall_seconds=30)
    ran("import os\nfor i in range(3000):\n    os.mkdir('d', 0o300)\n    os.chdir('d')", limits=limits)


def test_a_run_that_is_cancelled_leaves_nothing_running() -> None:
    source = "import time\ntime.sleep(60)"
    eff = timeout(perform(CodeClient.run, CodeProgram(source=source, limits=CodeLimits(wall_seconds=60))), seconds=0.5)
    assert HERE.run(eff).failure().__class__.__name__ == "TimedOut"


@pytest.mark.anyio
async def test_it_runs_on_every_event_loop() -> None:
    with anyio.fail_after(60):
        run = (await HERE.arun(perform(CodeClient.run, CodeProgram(source="print(1)")))).unwrap()
    assert run.stdout == "1\n"


class TestWhatCannotBeGuaranteed:
    def refusal(self, sandbox: Sandbox, limits: CodeLimits = CodeLimits()) -> Unsupported:
        program = CodeProgram(source="print('it ran')", limits=limits)
        error = CodeClient.handled_by(sandbox).run(perform(CodeClient.run, program)).failure()
        assert isinstance(error, Unsupported)
        return error

    def test_is_refused_on_a_machine_whose_system_calls_are_unknown(self) -> None:
        every: frozenset[Guarantee] = frozenset({"files", "memory", "network", "processes"})
        error = self.refusal(Sandbox(promised=every, python=None, machine="abacus"))
        assert "without=" in error.fix

    @pytest.mark.skipif(os.getuid() != 0, reason="only root cannot be counted")
    def test_is_refused_to_root_where_processes_would_have_to_be_counted(self) -> None:
        promised: frozenset[Guarantee] = frozenset({"processes"})
        error = self.refusal(Sandbox(promised=promised, python=None), CodeLimits(num_processes=4))
        assert "processes" in error.feature

    def test_runs_when_it_is_given_up(self) -> None:
        nothing: frozenset[Guarantee] = frozenset({"files", "memory", "network", "processes"})
        bare = CodeClient.handled_by(Sandbox(promised=frozenset(), python=None, machine="abacus"))
        assert ran("import os\nprint(os.path.exists('/etc/passwd'))", by=bare).stdout == "True\n"
        forking = ran("import os\npid = os.fork()\nprint(pid >= 0)", by=subprocess.code(without=nothing))
        assert forking.stdout == "True\nTrue\n"

    def test_a_sleeping_child_does_not_outlive_its_parent(self) -> None:
        source = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nprint('gone')"
        run = ran(source, by=subprocess.code(without={"processes"}))
        assert (run.ending, run.stdout) == ("exited", "gone\n")
        assert run.wall_seconds < 30

    def test_an_interpreter_that_is_not_there_is_named(self) -> None:
        handlers = subprocess.code(python="/no/such/python")
        error = handlers.run(perform(CodeClient.run, CodeProgram(source=""))).failure()
        assert isinstance(error, NotFound)
        assert "/no/such/python" in str(error)


def test_a_workspace_counts_entries_and_bytes() -> None:
    folder = make_workspace(b"x" * 1000)
    (folder / "inner").mkdir()
    assert not holds_more(folder, 20_000)
    (folder / "inner" / "big").write_bytes(bytes(20_000))
    assert holds_more(folder, 20_000)
    remove_workspace(folder)
    assert not folder.exists()
