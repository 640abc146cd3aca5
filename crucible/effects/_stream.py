"""A producer and a consumer side by side, with a bounded buffer between them."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Generic, ParamSpec, TypeVar

import anyio

from crucible.effects._driver import evaluate
from crucible.effects._eff import Eff, Native, pure
from crucible.effects._run import Run, Scope
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
    ready: Callable[[A, int], bool] | None = None,
) -> Eff[A, E | E2, R | R2]:
    """Consume what `produce(latest, index)` makes while it makes the next, at most `buffer` items ahead.

    `latest` is the newest value that `consume` gave when the item was begun; which one that was is recorded. An item is begun when
    `ready(latest, index)` holds, which it must once all before it are consumed. `produce` ends the stream with None. A failure on
    either side stops the other and waits for its finalizers.

    Raises: ValueError when `buffer` is below 1.
    """
    if buffer < 1:
        raise ValueError(f"a stream needs a buffer of at least 1 item, not {buffer}")

    async def step(run: Run, scope: Scope) -> A:
        base = scope.child("stream")
        siblings = Siblings()
        consumed = _Consumed(initial)
        send, receive = anyio.create_memory_object_stream[B](buffer - 1)  # one more waits to be sent

        async def fill() -> None:
            for index in count():
                place = Scope(base, f"produce[{index}]")
                while ready is not None and not ready(consumed.latest, index):
                    await consumed.more()
                latest = await consumed.after(run.chosen(place.path, consumed.number))
                item = await evaluate(run, place, _made(produce, latest, index))
                if item is None:
                    break
                await send.send(item)
            send.close()

        async def drain() -> None:
            async for item in receive:
                index = consumed.number
                place = Scope(base, f"[{index}]")
                consumed.add(await evaluate(run, place, _made(consume, consumed.latest, index, item)))

        with send, receive:
            await siblings.run([partial(siblings.guarded, 0, fill), partial(siblings.guarded, 1, drain)])
        return consumed.latest

    return Native(step)


class _Consumed(Generic[A]):
    """What the consumer gave after each item, as far back as the producer may still ask for it."""

    def __init__(self, initial: A) -> None:
        self.number = 0
        self._values = {0: initial}
        self._progress = anyio.Event()

    @property
    def latest(self) -> A:
        return self._values[self.number]

    def add(self, value: A) -> None:
        self.number += 1
        self._values[self.number] = value
        self._progress.set()
        self._progress = anyio.Event()

    async def more(self) -> None:
        """Wait for the next."""
        await self._progress.wait()

    async def after(self, number: int) -> A:
        """Give what there was after so many items, once there is; nobody asks for an older one after that."""
        while self.number < number:
            await self._progress.wait()
        self._values = {index: value for index, value in self._values.items() if index >= number}
        return self._values[number]


def _made(function: Callable[P, Eff[A, E, R]], *args: P.args, **kwargs: P.kwargs) -> Eff[A, E, R]:
    """Call `function` inside the computation, so that what it raises is known by its path."""
    return pure(None).bind(lambda _: function(*args, **kwargs))
