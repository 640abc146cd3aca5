"""`retry`: a call that failed is made again, after a while."""

import random
from collections.abc import Callable
from typing import Protocol, TypeVar, runtime_checkable

import anyio
from returns.result import Failure, Result

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._port import is_repeatable

R = TypeVar("R")


@runtime_checkable
class _AsksToWait(Protocol):
    """An error that says when to come back."""

    retry_after_seconds: float | None


def backoff(
    *, first_seconds: float = 0.5, most_seconds: float = 60.0, seed: int | None = None
) -> Callable[[int, object], float]:
    """Wait twice as long each time, with jitter: between half of it and all of it, so that many do not come back at once.

    An error with `retry_after_seconds` is not asked again before that.

    >>> waiting = backoff(first_seconds=1, most_seconds=3, seed=0)
    >>> [0.5 <= waiting(0, "busy") <= 1, 1 <= waiting(1, "busy") <= 2, 1.5 <= waiting(9, "busy") <= 3]
    [True, True, True]
    """
    draws = random.Random(seed)

    def wait_seconds(attempt: int, error: object) -> float:
        seconds = min(most_seconds, first_seconds * 2.0 ** min(attempt, 60)) * draws.uniform(0.5, 1)
        asked = error.retry_after_seconds if isinstance(error, _AsksToWait) else None
        return max(seconds, asked or 0.0)

    return wait_seconds


def retry(
    handlers: Handlers[R],
    *,
    attempts: int,
    when: Callable[[object], bool],
    wait_seconds: Callable[[int, object], float] = backoff(),
) -> Handlers[R]:
    """Make a call again when it fails with an error for which `when` is true, up to `attempts` times in all.

    `wait_seconds` is given the number of the attempt that failed, from 0, and its error. Operations marked
    `not_repeatable` are made once, whatever their error.

    Raises: ValueError when `attempts` is below 1.
    """
    if attempts < 1:
        raise ValueError(f"retry needs at least 1 attempt, not {attempts}")

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        for attempt in range(attempts - 1 if is_repeatable(call.operation) else 0):
            if not (isinstance(result, Failure) and when(result.failure())):
                break
            await anyio.sleep(wait_seconds(attempt, result.failure()))
            result = await proceed(call)
        return result

    return handlers.wrap(around)
