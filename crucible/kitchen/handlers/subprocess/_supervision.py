"""Watching over a running program: what it writes, how long it takes, how much disk it fills, and its end."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import attrs
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from crucible.kitchen.handlers.subprocess._workspace import holds_more
from crucible.train.types import CodeEnding, CodeProgram, CodeRun

DISK_LOOK_SECONDS = 0.05


@attrs.define
class _Watch:
    """A running program. The first reason to end it is the one that is told."""

    process: Process
    ending: CodeEnding = "exited"
    stdout: bytearray = attrs.field(factory=bytearray)
    stderr: bytearray = attrs.field(factory=bytearray)

    def end(self, why: CodeEnding) -> None:
        if self.ending == "exited":
            self.ending = why
        self.kill()

    def kill(self) -> None:
        kill_group(self.process)


def kill_group(process: Process) -> None:
    """Kill a program, and whatever it started and left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def end(process: Process) -> None:
    """Kill a program and wait until it is gone, cancelled or not."""
    kill_group(process)
    with anyio.CancelScope(shield=True):
        await process.wait()
        await process.aclose()


async def supervise(process: Process, program: CodeProgram, folder: Path) -> CodeRun:
    """Let a program run to its end, or to its limits. When this returns or raises, nothing of it runs any more."""
    watch = _Watch(process)
    start = time.monotonic()
    try:
        with anyio.move_on_after(program.limits.wall_seconds) as clock:
            await _run_to_the_end(watch, program, folder)
        if clock.cancelled_caught:
            watch.end("timed_out")
    finally:
        await end(process)
    return _outcome(watch, time.monotonic() - start)


async def _run_to_the_end(watch: _Watch, program: CodeProgram, folder: Path) -> None:
    process, limits = watch.process, program.limits
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    read = partial(_read, most_bytes=limits.output_bytes, on_excess=lambda: watch.end("output_exceeded"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_look_at_disk, watch, folder, limits.disk_bytes)
        tasks.start_soon(_feed, process.stdin, program.stdin.encode())
        async with anyio.create_task_group() as readers:
            readers.start_soon(partial(read, process.stdout, watch.stdout))
            readers.start_soon(partial(read, process.stderr, watch.stderr))
            await process.wait()
            watch.kill()  # what it left behind holds the pipes open
        tasks.cancel_scope.cancel()
    if watch.ending == "exited" and await anyio.to_thread.run_sync(holds_more, folder, limits.disk_bytes):
        watch.ending = "disk_exceeded"


async def _feed(stream: ByteSendStream, data: bytes) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # it does not read what it is given
        if data:
            await stream.send(data)
        await stream.aclose()


async def _read(stream: ByteReceiveStream, into: bytearray, *, most_bytes: int, on_excess: Callable[[], None]) -> None:
    with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
        while True:
            into += await stream.receive()
            if len(into) > most_bytes:
                del into[most_bytes:]
                on_excess()
                return


async def _look_at_disk(watch: _Watch, folder: Path, most_bytes: int) -> None:
    while True:
        await anyio.sleep(DISK_LOOK_SECONDS)
        if await anyio.to_thread.run_sync(holds_more, folder, most_bytes):
            watch.end("disk_exceeded")
            return


def _outcome(watch: _Watch, wall_seconds: float) -> CodeRun:
    code = watch.process.returncode
    ending = watch.ending
    if ending == "exited" and code is not None and code < 0:
        ending = "cpu_exceeded" if -code == signal.SIGXCPU else "killed"
    return CodeRun(
        ending=ending,
        exit_code=code if ending == "exited" else None,
        stdout=watch.stdout.decode(errors="replace"),
        stderr=watch.stderr.decode(errors="replace"),
        wall_seconds=wall_seconds,
    )
