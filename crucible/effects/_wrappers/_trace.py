"""`trace`: every call, shown when it has ended."""

import time
from collections.abc import Callable
from typing import TypeVar

import attrs
from returns.result import Result

from crucible.effects._handlers import Call, Handlers, Proceed

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class TracedCall:
    """A call that was made: what, where, how long it took, and its result (None when it raised)."""

    call: Call
    seconds: float
    result: Result[object, object] | None


def trace(handlers: Handlers[R], *, into: Callable[[TracedCall], object]) -> Handlers[R]:
    """Show every call to `into`, when it has ended: `trace(handlers, into=calls.append)`."""

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        start = time.perf_counter()
        result: Result[object, object] | None = None
        try:
            result = await proceed(call)
            return result
        finally:
            into(TracedCall(call=call, seconds=time.perf_counter() - start, result=result))

    return handlers.wrap(around)
