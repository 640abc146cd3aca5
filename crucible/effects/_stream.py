"""A producer and a consumer side by side, with a bounded buffer between them."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from crucible.effects._driver import Failed, Run, Scope, evaluate
from crucible.effects._eff import Eff, Native

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")


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
        latest = [initial]
        raised: list[BaseException] = []
        send, receive = anyio.create_memory_object_stream[B](buffer - 1)

        async def fill(stream: MemoryObjectSendStream[B]) -> None:
            async with stream:
                index = 0
                while (
                    item := await evaluate(run, Scope(base, f"produce[{index}]"), produce(latest[0], index))
                ) is not None:
                    await stream.send(item)
                    index += 1

        async def drain(stream: MemoryObjectReceiveStream[B]) -> None:
            async with stream:
                index = 0
                async for item in stream:
                    latest[0] = await evaluate(run, Scope(base, f"[{index}]"), consume(latest[0], index, item))
                    index += 1

        async with anyio.create_task_group() as group:

            async def guarded(side: Callable[..., object], stream: object) -> None:
                try:
                    await side(stream)  # type: ignore[misc]  # fill or drain
                except (Failed, Exception) as error:
                    raised.append(error)
                    group.cancel_scope.cancel()

            group.start_soon(guarded, fill, send)
            group.start_soon(guarded, drain, receive)
        if raised:
            raise raised[0]
        return latest[0]

    return Native(step)
