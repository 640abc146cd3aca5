"""The contract of `CodeClient`, as a suite that any handler can be put through."""

from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Eff, Handlers, do, gather, perform
from crucible.testing._laws import Laws, obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import CodeClient
from crucible.train.types import CodeLimits, CodeProgram, CodeRun

Law: TypeAlias = Do[TrainError, CodeClient, None]

_FORKS = """
import os, time
made = 0
try:
    while made < 20:
        if os.fork() == 0:
            time.sleep(30)
        made += 1
except OSError:
    pass
print(made)
"""
_SOCKETS = """
import socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    try:
        made = socket.socket(family)
        made.connect("/nowhere" if family == socket.AF_UNIX else ("127.0.0.1", 9))
    except PermissionError:
        print("refused")
    except OSError as error:
        print(type(error).__name__)
"""
_WRITES = """
import os, pathlib
for place in ("/tmp/crucible-escaped", "../crucible-escaped", "/var/tmp/crucible-escaped", "/dev/shm/crucible-escaped"):
    try:
        pathlib.Path(place).write_text("out")
        print(place)
    except OSError:
        pass
pathlib.Path("inside").write_text("in")
print(pathlib.Path("inside").read_text())
"""


def check_code_client(make: Callable[[], Handlers[CodeClient]], *, runs_programs: bool = True) -> None:
    """Put the handlers that `make` gives through the contract of `CodeClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        runs_programs: whether programs are run at all; a fake that only answers keeps the first laws alone.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws: Laws[CodeClient] = {
        "a program that is no text is refused": refused("half a character", _run("print('\ud800')"), InvalidRequest),
        "the same program ends in the same way": _again(),
    }
    running: Laws[CodeClient] = {
        "a program reads its input, writes its output and exits": _runs(),
        "what a program raises is told on standard error": _raises(),
        "a program ends when its time is over": _time(),
        "a program has no more memory than its limit": _memory(),
        "output ends at its limit": _output(),
        "files end at their limit": _disk(),
        "there are no more processes than the limit": _processes(),
        "no network is reached": _network(),
        "nothing is written outside of the program's folder": _writes(),
        "runs share nothing": _apart(),
        "runs may go side by side": _side_by_side(),
    }
    obey(make, {**laws, **running} if runs_programs else laws)


def _run(source: str, *, stdin: str = "", limits: CodeLimits = CodeLimits()) -> Eff[CodeRun, TrainError, CodeClient]:
    return perform(CodeClient.run, CodeProgram(source=source, stdin=stdin, limits=limits))


@do
def _again() -> Law:
    limits = CodeLimits(output_bytes=5)
    runs = []
    for stdin in ("one", "one", "longer than it"):
        run = yield from _run("print(input())", stdin=stdin, limits=limits)
        require(run.wall_seconds >= 0, f"it took {run.wall_seconds} s")
        require(run.succeeded == (run.ending == "exited" and run.exit_code == 0), f"{run} contradicts itself")
        require(len(run.stdout.encode()) <= limits.output_bytes, f"{run.stdout!r} is over its limit")
        runs.append((run.ending, run.exit_code, run.stdout))
    require_equal(runs[1], runs[0], "the same program again")
    require_equal(runs[2][0], "output_exceeded", "the end of a program that writes too much")


@do
def _runs() -> Law:
    run = yield from _run("import sys\nprint(sys.stdin.read()[::-1])\nsys.exit(3)", stdin="ünder")
    require_equal((run.ending, run.exit_code, run.stdout, run.stderr), ("exited", 3, "rednü\n", ""), "the run")
    require(run.wall_seconds > 0, f"it took {run.wall_seconds} s")


@do
def _raises() -> Law:
    run = yield from _run("raise ValueError('so it is')")
    require_equal((run.ending, run.exit_code, run.stdout), ("exited", 1, ""), "the run")
    require("ValueError: so it is" in run.stderr, f"standard error is {run.stderr!r}")


@do
def _time() -> Law:
    asleep = yield from _run("import time\nprint('on', flush=True)\ntime.sleep(60)", limits=CodeLimits(wall_seconds=1))
    require_equal((asleep.ending, asleep.exit_code, asleep.stdout), ("timed_out", None, "on\n"), "the sleeper")
    require(asleep.wall_seconds < 20, f"it took {asleep.wall_seconds} s instead of 1")
    busy = yield from _run("while True: pass", limits=CodeLimits(wall_seconds=30, cpu_seconds=1))
    require_equal((busy.ending, busy.exit_code), ("cpu_exceeded", None), "the busy program")


@do
def _memory() -> Law:
    limits = CodeLimits(memory_bytes=128 * 2**20)
    run = yield from _run("held = bytearray(256 * 2**20)\nprint(len(held))", limits=limits)
    require(not run.succeeded and run.stdout == "", f"the program held twice its limit: {run}")


@do
def _output() -> Law:
    limits = CodeLimits(output_bytes=1000)
    run = yield from _run("while True: print('x' * 99)", limits=limits)
    require_equal((run.ending, run.exit_code, len(run.stdout)), ("output_exceeded", None, 1000), "the talker")
    exact = yield from _run("print('x' * 999)", limits=limits)
    require_equal((exact.ending, len(exact.stdout)), ("exited", 1000), "what keeps to the limit")


@do
def _disk() -> Law:
    limits = CodeLimits(disk_bytes=2**20)
    one = yield from _run("open('big', 'wb').write(bytes(2**21))", limits=limits)
    many = yield from _run("for i in range(10**9): open(str(i), 'w').close()", limits=limits)
    for run in (one, many):
        require(run.ending == "disk_exceeded" or run.exit_code == 1, f"too many bytes were written: {run}")


@do
def _processes() -> Law:
    run = yield from _run(_FORKS, limits=CodeLimits(num_processes=1, wall_seconds=20))
    require_equal((run.ending, run.stdout), ("exited", "0\n"), "the forks that were made")


@do
def _network() -> Law:
    run = yield from _run(_SOCKETS)
    require_equal(run.stdout, "refused\n" * 3, f"what was said to sockets ({run.stderr})")


@do
def _writes() -> Law:
    run = yield from _run(_WRITES)
    require_equal(run.stdout, "in\n", f"what was written ({run.stderr})")


@do
def _apart() -> Law:
    yield from _run("import pathlib\npathlib.Path('left').write_text('here')")
    run = yield from _run("import os\nprint(os.path.exists('left'))")
    require_equal(run.stdout, "False\n", "whether the file of another run is there")


@do
def _side_by_side() -> Law:
    runs = yield from gather([_run(f"print({number})") for number in range(4)])
    require_equal([run.stdout for run in runs], [f"{number}\n" for number in range(4)], "the outputs")
