"""A producer and a consumer side by side, with a bounded buffer between them."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import ParamSpec, TypeVar

import anyio

from crucible.effects._driver import Run, Scope, evaluate
from crucible.effects._eff import Eff, Native, pure
from crucible.effects._siblings import Siblings

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")
P = ParamSpec("P")


def fold_stream(
    produce: Callable[[A, int], Eff[B | None, E, R]],
    consume: Callable[[A, int, B], Eff[A, E2, R2]],
    initial: A,
    *,
    buffer: int,
) -> Eff[A, E | E2, R | R2]:
    """Consume what `produce(latest, index)` makes while it makes the next, at most `buffer` items ahead.

    `latest` is the newest value that `consume` gave when the item was begun. `produce` ends the stream with None. A
    failure on either side stops the other and waits for its finalizers.

    Raises: ValueError when `buffer` is below 1.
    """
    if buffer < 1:
        raise ValueError(f"a stream needs a buffer of at least 1 item, not {buffer}")

    async def step(run: Run, scope: Scope) -> A:
        base = scope.child("stream")
        siblings = Siblings()
        latest = initial
        send, receive = anyio.create_memory_object_stream[B](buffer - 1)  # one more waits to be sent

        async def fill() -> None:
            for index in count():
                item = await evaluate(run, Scope(base, f"produce[{index}]"), _made(produce, latest, index))
                if item is None:
                    break
                await send.send(item)
            send.close()

        async def drain() -> None:
            nonlocal latest
            index = 0
            async for item in receive:
                latest = await evaluate(run, Scope(base, f"[{index}]"), _made(consume, latest, index, item))
                index += 1

        with send, receive:
            await siblings.run([partial(siblings.guarded, 0, fill), partial(siblings.guarded, 1, drain)])
        return latest

    return Native(step)


def _made(function: Callable[P, Eff[A, E, R]], *args: P.args, **kwargs: P.kwargs) -> Eff[A, E, R]:
    """Call `function` inside the computation, so that what it raises is known by its path."""
    return pure(None).bind(lambda _: function(*args, **kwargs))
