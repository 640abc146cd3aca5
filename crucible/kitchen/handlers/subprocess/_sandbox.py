"""`CodeClient` on this machine: each program in a process of its own, from which nearly every right is taken."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from subprocess import PIPE, CalledProcessError

import anyio
from anyio.abc import Process

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.subprocess._errors import error_of, refused
from crucible.kitchen.handlers.subprocess._orders import EVERY_GUARANTEE, Interpreter, Launch, environment
from crucible.kitchen.handlers.subprocess._supervision import end, supervise
from crucible.kitchen.handlers.subprocess._syscalls import ARCHITECTURES, Guarantee
from crucible.kitchen.handlers.subprocess._workspace import make_workspace, remove_workspace
from crucible.train.errors import BackendFailed, InvalidRequest, NotFound, StorageFailed, TrainError, Unsupported
from crucible.train.ports import CodeClient
from crucible.train.types import CodeProgram, CodeRun

START_SECONDS = 60.0
"""How long the launcher may take on a machine that is busy; the program's own time starts after it."""


def code(*, without: AbstractSet[Guarantee] = frozenset(), python: str | None = None) -> Handlers[CodeClient]:
    """Handle programs with a sandboxed process each; needs Linux 5.13 or newer, on x86_64 or aarch64, and no rights.

    What is guaranteed, each part unless it is named in `without`; where it cannot be, the program is not run:

    - `files`: a program reads its own folder, Python's library and the system's; it writes only to its own folder,
      which is deleted afterwards; it starts nothing but Python; it changes no owner, mode or time of any file
      (Landlock, seccomp). It can still learn that a file exists, and its size.
    - `network`: it makes no socket of any family, so it reaches no address, not even of this machine (seccomp).
    - `processes`: it forks no more than its limit allows, signals and touches no other process, and does not leave its
      process group (seccomp). More than one process at once can be allowed only where user namespaces may be made, and
      not to root; threads then count too. They do not where one process is allowed: there memory is their limit.
    - `memory`: the address space of each process is limited, and memory that is counted nowhere is refused.

    Whatever is given up, time and output are limited, the whole group is killed at the end, the environment is
    empty but for the bare needs, and all capabilities are dropped, those of root too. Disk use is looked at 20 times a
    second, so a program can be over its limit for that long. This is a wall against the programs that models write:
    it shares the kernel, so it is none against someone who holds an exploit for it, and it hides no timing.

    Args:
        without: what need not be guaranteed.
        python: the interpreter, by default the one that this process is based on; programs import what it can import.
    """
    return CodeClient.handled_by(Sandbox(promised=EVERY_GUARANTEE - without, python=python))


class Sandbox(CodeClient):
    """A `CodeClient` that holds nothing between two runs but where its interpreter is."""

    def __init__(
        self, *, promised: frozenset[Guarantee], python: str | None, machine: str = platform.machine()
    ) -> None:
        self._promised = promised
        self._python = python or os.path.realpath(sys.executable)
        self._machine = machine
        self._interpreter: Interpreter | None = None

    async def run(self, program: CodeProgram) -> Result[CodeRun, TrainError]:
        """Run a program in a folder of its own."""
        problem = self._cannot(program)
        if problem is not None:
            return Failure(problem)
        interpreter = await self._found()
        if isinstance(interpreter, Failure):
            return interpreter
        try:
            folder = await anyio.to_thread.run_sync(make_workspace, program.source.encode())
        except OSError as error:
            return Failure(StorageFailed(path="a temporary folder", message=str(error)))
        try:
            return await self._run_in(folder, interpreter.unwrap(), program)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_workspace, folder)

    def _cannot(self, program: CodeProgram) -> TrainError | None:
        try:
            program.source.encode()
            program.stdin.encode()
        except UnicodeEncodeError as error:
            return InvalidRequest(message=f"the program or its input is no Unicode text: {error}")
        if os.name != "posix":
            return Unsupported(feature="running programs", backend="subprocess", fix="use Linux")
        if self._promised and (sys.platform != "linux" or self._machine not in ARCHITECTURES):
            return refused(self._promised, f"{sys.platform} on {self._machine} has no known way to it")
        return None

    async def _found(self) -> Result[Interpreter, TrainError]:
        """Ask the interpreter once where its library is."""
        if self._interpreter is None:
            question = "import sys; print(sys.prefix, sys.base_prefix, sys.exec_prefix, sep='\\n')"
            try:
                answer = await anyio.run_process([self._python, "-s", "-c", question], env={})
            except (OSError, CalledProcessError) as error:
                return Failure(NotFound(kind="Python interpreter", name=self._python, fix=str(error)))
            prefixes = tuple(dict.fromkeys(answer.stdout.decode().splitlines()))
            self._interpreter = Interpreter(path=self._python, prefixes=prefixes)
        return Success(self._interpreter)

    async def _run_in(
        self, folder: Path, interpreter: Interpreter, program: CodeProgram
    ) -> Result[CodeRun, TrainError]:
        launch = Launch(
            command=(interpreter.path, "-s", "-B", "main.py"),
            interpreter=interpreter,
            limits=program.limits,
            promised=self._promised,
            folder=folder,
            machine=self._machine,
        )
        ours, theirs = os.pipe()
        try:
            try:
                process = await _started(launch.through_launcher(theirs), folder, theirs)
            finally:
                os.close(theirs)
            problem = await _report(process, ours)
        except OSError as error:
            return Failure(BackendFailed(message=f"no process could be started: {error}"))
        finally:
            os.close(ours)
        if problem:
            return Failure(error_of(problem, self._promised))
        return Success(await supervise(process, program, folder))


async def _started(command: Sequence[str], folder: Path, report: int) -> Process:
    return await anyio.open_process(
        command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env=environment(folder),
        start_new_session=True,
        pass_fds=[report],
    )


async def _report(process: Process, report: int) -> bytes:
    """Wait until the program has begun (nothing) or the launcher says why not. The pipe closes as the program begins."""
    said = b""
    try:
        with anyio.move_on_after(START_SECONDS) as clock:
            await anyio.wait_readable(report)
            said = os.read(report, 65536)
        if clock.cancelled_caught:
            said = json.dumps({"mechanism": "start", "message": f"it took over {START_SECONDS:g} s"}).encode()
        return said
    except BaseException:
        said = b"cancelled"
        raise
    finally:
        if said:
            await end(process)
