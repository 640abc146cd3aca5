"""`circuit_breaker`: who does not answer is left alone for a while."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import attrs
from returns.result import Failure, Result

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._port import Port
from crucible.effects._unanswered import unanswered

R = TypeVar("R")


@attrs.define
class _Circuit:
    """How often a port failed in a row, until when it is left alone, and whether it is being tried again."""

    failures: int = 0
    open_until: float = 0.0
    trying: bool = False


def circuit_breaker(
    handlers: Handlers[R],
    *,
    failures: int,
    reset_seconds: float,
    when: Callable[[object], bool],
    clock: Callable[[], float] = time.monotonic,
) -> Handlers[R]:
    """Stop asking a port that failed so many times in a row with an error for which `when` is true.

    For `reset_seconds` its calls are not made, and are answered as its port answers what is unanswered (see
    `Unanswered`). Then one call is let through: an answer closes the circuit, such an error opens it again.

    Raises: ValueError when `failures` is below 1.
    """
    if failures < 1:
        raise ValueError(f"a circuit breaker needs at least 1 failure, not {failures}")
    circuits: defaultdict[type[Port], _Circuit] = defaultdict(_Circuit)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        circuit = circuits[call.port]
        is_open = circuit.failures >= failures
        wait_seconds = circuit.open_until - clock()
        if is_open and (circuit.trying or wait_seconds > 0):
            message = f"was not made: {call.port.__name__} failed {circuit.failures} times in a row"
            return unanswered(call, message, retry_after_seconds=max(wait_seconds, 0.0))
        circuit.trying = circuit.trying or is_open
        try:
            result = await proceed(call)
        finally:
            circuit.trying = circuit.trying and not is_open
        if isinstance(result, Failure) and when(result.failure()):
            circuit.failures += 1
            circuit.open_until = clock() + reset_seconds
        else:
            circuit.failures = 0
        return result

    return handlers.wrap(around)
