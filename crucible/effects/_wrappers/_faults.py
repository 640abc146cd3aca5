"""`inject`: errors, delays, hangs and crashes on purpose, the same ones in every run."""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
import attrs
from returns.result import Failure, Result

from crucible.effects._handlers import Around, Call, Handlers, Proceed
from crucible.effects._path import show_path

R = TypeVar("R")


class InjectedCrash(Exception):  # noqa: N818  # what happened, not a kind of error
    """A crash that was asked for."""


@attrs.frozen
class Fault:
    """What goes wrong, and when.

    Args:
        does: the layer that spoils a call: `failing`, `delayed`, `hanging`, `crashing`, or one of your own.
        on: the operation that it befalls; every one when None.
        at: the number of the call that it befalls, from 1, of those that are counted by this fault; every one when None.
        chance: how probably it befalls such a call, drawn from the seed and the place of the call.
    """

    does: Around
    on: Callable[..., object] | None = attrs.field(default=None, kw_only=True)
    at: int | None = attrs.field(default=None, kw_only=True)
    chance: float = attrs.field(default=1.0, kw_only=True)


def failing(error: object) -> Around:
    """Answer with `error`, which is to be one that the operation can fail with; the call is not made."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        return Failure(error)

    return around


def delayed(seconds: float) -> Around:
    """Make the call so much later."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        await anyio.sleep(seconds)
        return await proceed(call)

    return around


def hanging() -> Around:
    """Never answer; the call is not made."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        await anyio.sleep_forever()
        return await proceed(call)  # not reached

    return around


def crashing(*, after: bool = False) -> Around:
    """Raise InjectedCrash before the call is made, or after it, so that only its answer is lost."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if after:
            await proceed(call)
        raise InjectedCrash(f"{call} crashed on purpose")

    return around


def inject(handlers: Handlers[R], *faults: Fault, seed: int = 0) -> Handlers[R]:
    """Let calls go wrong on purpose, to see that a program stands it. Of several faults the first is the outermost.

    Chance depends on `seed`, the place of the call and how often a call was made there, not on what runs beside it.
    Counting goes on from run to run: what crashed at the third call goes well when the run is begun again.
    """
    counted: Counter[int] = Counter()
    made: Counter[str] = Counter()

    def befalls(index: int, fault: Fault, call: Call) -> bool:
        if fault.on is not None and fault.on is not call.operation:
            return False
        counted[index] += 1
        if fault.at is not None and fault.at != counted[index]:
            return False
        place = show_path(call.path)
        return random.Random(f"{seed}/{index}/{made[place]}/{place}").random() < fault.chance

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        chosen = [fault for index, fault in enumerate(faults) if befalls(index, fault, call)]
        made[show_path(call.path)] += 1
        for fault in reversed(chosen):
            proceed = partial(fault.does, proceed=proceed)
        return await proceed(call)

    return handlers.wrap(around)
