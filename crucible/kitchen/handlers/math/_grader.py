"""A grading process: started when it is needed, ended when it takes too long, started again."""

import json
import os
import platform
import sys
import threading
import weakref
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.subprocess._errors import error_of
from crucible.kitchen.handlers.subprocess._orders import Interpreter, Launch, environment
from crucible.kitchen.handlers.subprocess._syscalls import Guarantee
from crucible.kitchen.handlers.subprocess._workspace import make_workspace, remove_workspace
from crucible.train.errors import BackendFailed, InvalidRequest, StorageFailed, TrainError
from crucible.train.types import CodeLimits

START_SECONDS = 120.0
"""How long the library may take to load on a machine that is busy."""

LIMITS = CodeLimits(cpu_seconds=10**6, memory_bytes=2 * 2**30)


@attrs.frozen(kw_only=True)
class _Process:
    popen: Popen[str]
    folder: Path

    def ask(self, line: str | None, seconds: float) -> str:
        """Send a line and read one, or only read; give an empty text when the process ended or its time was over."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        timer = threading.Timer(seconds, self.popen.kill)
        timer.start()
        try:
            if line is not None:
                self.popen.stdin.write(line + "\n")
                self.popen.stdin.flush()
            return self.popen.stdout.readline()
        except BrokenPipeError:
            return ""
        finally:
            timer.cancel()

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was not sent yet will not be
        remove_workspace(self.folder)


class Grader:
    """Grades one answer after another, from any thread. The process ends with this object."""

    def __init__(self, *, promised: frozenset[Guarantee], seconds: float) -> None:
        self._promised = promised
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._finalizer: weakref.finalize[..., Grader] | None = None

    def grade(self, answer: str, expected: str) -> Result[bool, TrainError]:
        """Say whether an answer is the expected one.

        Fails: InvalidRequest when what is expected cannot be read; BackendFailed when the grader fails or takes too long.
        """
        with self._lock:
            started = self._started()
            if isinstance(started, Failure):
                return started
            said = started.unwrap().ask(json.dumps([expected, answer]), self._seconds)
            if not said:
                self._end()
                return Failure(BackendFailed(message=f"grading did not end well within {self._seconds:g} s"))
        found: dict[str, object] = json.loads(said)
        if "unreadable" in found:
            return Failure(InvalidRequest(message=f"{found['unreadable']}: {expected!r}", fix="correct the row"))
        if "error" in found:
            return Failure(BackendFailed(message=f"math-verify failed: {found['error']}"))
        return Success(found["right"] is True)

    def _started(self) -> Result[_Process, TrainError]:
        if self._process is not None:
            return Success(self._process)
        started = _start(self._promised)
        if isinstance(started, Failure):
            return started
        process = started.unwrap()
        self._process, self._finalizer = process, weakref.finalize(self, process.end)
        if not process.ask(None, START_SECONDS):
            self._end()
            return Failure(BackendFailed(message="the grading process did not start: is math-verify whole?"))
        return started

    def _end(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None


def _start(promised: frozenset[Guarantee]) -> Result[_Process, TrainError]:
    worker = str(Path(__file__).with_name("_worker.py"))
    try:
        folder = make_workspace(b"")
    except OSError as error:
        return Failure(StorageFailed(path="a temporary folder", message=str(error)))
    launch = Launch(
        command=(sys.executable, "-s", "-B", worker),
        interpreter=Interpreter(path=sys.executable, prefixes=(sys.prefix, sys.base_prefix)),
        limits=LIMITS,
        promised=promised,
        folder=folder,
        machine=platform.machine(),
        readable=(worker,),
    )
    ours, theirs = os.pipe()
    try:
        popen = Popen(
            launch.through_launcher(theirs),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=folder,
            env=environment(folder),
            start_new_session=True,
            pass_fds=[theirs],
            text=True,
        )
    finally:
        os.close(theirs)
    with os.fdopen(ours, "rb") as report:
        problem = report.read()
    process = _Process(popen=popen, folder=folder)
    if problem:
        process.end()
        return Failure(error_of(problem, promised))
    return Success(process)
