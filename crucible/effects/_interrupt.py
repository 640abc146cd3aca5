"""Ctrl-C during `Handlers.run`: the first one is a cancellation like any other, the second stops at once."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TypeVar

import anyio

A = TypeVar("A")


def run_until_interrupted(main: Callable[[], Awaitable[A]]) -> A:
    """Run `main` in an event loop of its own, where the first ctrl-C cancels it: finalizers run, and in peace.

    asyncio's own answer to ctrl-C breaks into whatever is awaited, a shielded `release` too. A handler that somebody has
    set for the signal is left alone, and so are threads, where no signal arrives.

    The value is kept aside: asyncio's runner asks for the signal's handler when it ends, and Python writes the `repr` of the
    task for it, with that of all that the task gave.

    Raises: KeyboardInterrupt when `main` was interrupted.
    """
    values: list[A] = []

    async def kept() -> None:
        values.append(await main())

    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        anyio.run(_cancelled_by_ctrl_c, kept)
    else:
        anyio.run(kept)
    return values[0]


async def _cancelled_by_ctrl_c(main: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    scope = anyio.CancelScope()
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True
        loop.call_soon_threadsafe(scope.cancel)

    before = signal.signal(signal.SIGINT, press)
    try:
        with scope:
            await main()
            if not pressed:
                return
    finally:
        signal.signal(signal.SIGINT, before)
    raise KeyboardInterrupt
