"""Promises: work that was accepted, and is asked after until it is done."""

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import anyio
import attrs

from crucible.effects import Failure, Result
from crucible.train.errors import BackendFailed, MissingExtra, StorageFailed, TrainError, Unavailable

A = TypeVar("A")
Wire: TypeAlias = bytes | dict[str, object]
"""A result as it is sent: a protobuf message, or JSON."""


def refusal(error: TrainError) -> dict[str, object]:
    """Say in the wire's words how a request failed, and whose fault that is.

    >>> refusal(Unavailable(message="busy"))
    {'error': 'busy', 'category': 'server'}
    """
    ours = isinstance(error, Unavailable | BackendFailed | StorageFailed | MissingExtra)
    return {"error": str(error), "category": "server" if ours else "user"}


@attrs.define(eq=False)
class Promise:
    """One request's result to be: ready when it has both its answer and its release."""

    request_id: str
    session_id: str
    answer: Wire | None = None
    released: bool = True
    changed: anyio.Event = attrs.field(factory=anyio.Event)

    def keep(self, answer: Wire) -> None:
        """Give the answer. Only the first counts: a cancelled promise stays so."""
        if self.answer is None:
            self.answer = answer
            self.changed.set()

    def release(self) -> None:
        """Let a held promise be ready."""
        self.released = True
        self.changed.set()

    async def ready(self, seconds: float) -> Wire | None:
        """Wait for the answer; None when it takes longer."""
        with anyio.move_on_after(seconds):
            while self.answer is None or not self.released:
                self.changed = anyio.Event() if self.changed.is_set() else self.changed
                await self.changed.wait()
        return self.answer if self.released else None


class Promises:
    """All promises of a server by request id; a request sent again finds the one it was given before."""

    def __init__(self) -> None:
        self._by_id: dict[str, Promise] = {}
        self._by_place: dict[tuple[object, ...], Promise] = {}

    def at(self, place: tuple[object, ...]) -> Promise | None:
        """Give the promise of a request that came before."""
        return self._by_place.get(place)

    def make(self, place: tuple[object, ...], session_id: str) -> Promise:
        """Promise the result of a new request."""
        promise = Promise(request_id=f"request-{len(self._by_id)}-{secrets.token_hex(4)}", session_id=session_id)
        self._by_id[promise.request_id] = promise
        self._by_place[place] = promise
        return promise

    def find(self, request_id: str) -> Promise | None:
        """Give a promise by the id its client was told."""
        return self._by_id.get(request_id)


async def guarded(work: Callable[[], Awaitable[Result[A, TrainError]]]) -> Result[A, TrainError]:
    """Do work. What a handler raises is a defect of it, which a server outlives: the client is told."""
    try:
        return await work()
    except Exception as error:  # noqa: BLE001  # see above
        return Failure(BackendFailed(message=f"{type(error).__name__}: {error}"))


async def kept(promise: Promise, work: Callable[[], Awaitable[Result[Wire, TrainError]]]) -> None:
    """Do work and keep the promise with what it gives."""
    result = await guarded(work)
    promise.keep(refusal(result.failure()) if isinstance(result, Failure) else result.unwrap())
