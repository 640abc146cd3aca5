"""Waiting for threads from any event loop, and threads that do not keep the program alive."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol, TypeVar, cast

import anyio
from anyio.lowlevel import current_token

T = TypeVar("T")


class _TrioToken(Protocol):
    def run_sync_soon(self, work: Callable[[], None], /) -> None: ...


async def arrived(future: "Future[T]", seconds: float) -> bool:
    """Wait until a future is done, at most so long; tell whether it is. The future goes on, whatever becomes of the wait.

    >>> done = Future()
    >>> done.set_result(1)
    >>> anyio.run(arrived, done, 0.0)
    True
    """
    if future.done():
        return True
    event, soon = anyio.Event(), _caller_of_this_loop()

    def tell(_: "Future[T]") -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            soon(event.set)

    future.add_done_callback(tell)
    with anyio.move_on_after(seconds):
        await event.wait()
    return future.done()


def _caller_of_this_loop() -> Callable[[Callable[[], None]], object]:
    """Give what calls a function in this event loop from another thread, without waiting for it."""
    native = current_token().native_token
    if isinstance(native, asyncio.AbstractEventLoop):
        return native.call_soon_threadsafe
    return cast("_TrioToken", native).run_sync_soon


def in_thread(work: Callable[[], T]) -> "Future[T]":
    """Do something that blocks, in a thread of its own.

    >>> in_thread(lambda: 1 + 1).result()
    2
    """
    future: Future[T] = Future()
    threading.Thread(target=_settle, args=(future, work), name="crucible-tinkex", daemon=True).start()
    return future


class Line:
    """Does one piece of work after another, in the order they came, in one thread.

    >>> line = Line()
    >>> [line.submit(lambda n=n: n * n).result() for n in range(3)]
    [0, 1, 4]
    >>> line.close()
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Queue a piece of work."""
        future: Future[T] = Future()
        self._waiting.put(lambda: _settle(future, work))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="crucible-tinkex-line", daemon=True)
            self._thread.start()
        return future

    def close(self) -> None:
        """Let the thread end after what is queued."""
        self._waiting.put(None)

    def _run(self) -> None:
        while (work := self._waiting.get()) is not None:
            work()


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  # it belongs to whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)
