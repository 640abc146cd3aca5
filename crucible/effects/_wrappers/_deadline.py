"""`deadline`: a call that takes too long is given up."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from returns.result import Result

from crucible.effects._cancelling import ours
from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._port import is_repeatable
from crucible.effects._unanswered import unanswered

R = TypeVar("R")


def deadline(handlers: Handlers[R], *, seconds: float | Callable[[Call], float | None]) -> Handlers[R]:
    """Give up a call that is not answered within `seconds`, or within what `seconds(call)` says; None is no limit.

    It is cancelled, and answered as its port answers what is unanswered (see `Unanswered`). Inside of `retry` each
    attempt has that time, outside of it all of them together.
    """

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        limit = seconds(call) if callable(seconds) else seconds
        if limit is None:
            return await proceed(call)
        with anyio.move_on_after(limit) as scope, ours(scope):
            return await proceed(call)
        doubt = "" if is_repeatable(call.operation) else ", and nobody knows whether it was carried out"
        return unanswered(call, f"was not answered within {limit:g} s{doubt}")

    return handlers.wrap(around)
