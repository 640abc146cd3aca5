"""`cache`: the same question is asked once."""

import json
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import anyio
from returns.result import Result, Success

from crucible.effects._codec import decode, digest, encode
from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._port import is_repeatable, port_of

R = TypeVar("R")


class CacheStore(Protocol):
    """Where answers are kept, as text by a short key: a dict, or an open `dbm` file."""

    def get(self, key: str, /) -> str | bytes | None:
        """Give what is kept under a key, None where nothing is."""

    def __setitem__(self, key: str, value: str, /) -> None:
        """Keep a text under a key."""


def cache(
    handlers: Handlers[R],
    *,
    operations: Collection[Callable[..., object]],
    store: CacheStore,
) -> Handlers[R]:
    """Answer a call of `operations` from `store` when one with equal arguments was answered before.

    Name only operations whose answer depends on nothing but their arguments: an id of a session, say, names something
    else in the next process. Failures are not kept. Of equal calls at the same time one is made, and the others wait.

    Raises: TypeError for what is no operation, ValueError for one that is not repeatable. While running, UnrecordableError
    for a value of a kind that a journal cannot hold either.
    """
    for operation in operations:
        if port_of(operation) is None:
            raise TypeError(f"{operation!r} is not an operation of a port")
        if not is_repeatable(operation):
            raise ValueError(f"{operation.__qualname__} is not repeatable: its answer cannot stand for a second call")
    being_made: dict[str, anyio.Event] = {}

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.operation not in operations:
            return await proceed(call)
        key = digest((call.name, call.by_name))
        while key in being_made:
            await being_made[key].wait()
        kept = store.get(key)
        if kept is not None:
            return Success(decode(json.loads(kept)))
        made = being_made[key] = anyio.Event()
        try:
            result = await proceed(call)
            if isinstance(result, Success):
                store[key] = json.dumps(encode(result.unwrap()), allow_nan=False, separators=(",", ":"))
        finally:
            del being_made[key]
            made.set()
        return result

    return handlers.wrap(around)
