"""Handlers on top of handlers: each takes `Handlers[R]` and gives `Handlers[R]`; the workflow never knows."""

import inspect
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint
from returns.result import Failure, Result

from crucible.effects._codec import UnrecordableError, digest
from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._journal import Entry, Journal
from crucible.effects._order import Order, Stalled
from crucible.effects._path import show_path
from crucible.effects._port import Port, is_repeatable

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


def retry(
    handlers: Handlers[R],
    *,
    attempts: int,
    when: Callable[[object], bool],
    wait_seconds: Callable[[int], float] = lambda attempt: 0.5 * 2.0**attempt,
) -> Handlers[R]:
    """Make a call again when it fails with an error for which `when` is true, up to `attempts` times in all.

    Operations marked `not_repeatable` are made once, whatever their error. Waiting doubles from half a second.

    Raises: ValueError when `attempts` is below 1.
    """
    if attempts < 1:
        raise ValueError(f"retry needs at least 1 attempt, not {attempts}")

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        for attempt in range(attempts - 1 if is_repeatable(call.operation) else 0):
            if not (isinstance(result, Failure) and when(result.failure())):
                break
            await anyio.sleep(wait_seconds(attempt))
            result = await proceed(call)
        return result

    return handlers.wrap(around)


def record(handlers: Handlers[R], journal: Journal) -> Handlers[R]:
    """Write every call and its result to `journal`; `replay(journal)` then answers the same program without handlers.

    Put it outside of `retry`: what is recorded is the answer that the program got.

    Raises, while running and before the call is made: JournalError for a journal that holds another run;
    UnrecordableError for an argument of an odd kind.
    """

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        path = show_path(call.path)
        journal.expect_none_at(path)
        arguments = _fingerprints(call)
        if not is_repeatable(call.operation):
            journal.intend(path, call.name)
        began, result = journal.moment(), None

        def answered() -> Entry:
            return Entry(
                path=path, call=call.name, arguments=arguments, result=result, began=began, ended=journal.moment()
            )

        try:
            result = await proceed(call)
        except anyio.get_cancelled_exc_class():
            journal.append(answered())
            raise
        journal.append(answered())
        return result

    return handlers.wrap(around)


class Diverged(Exception):  # noqa: N818  # what happened, not a kind of error
    """A program that is replayed does something else than what was recorded."""


def replay(journal: Journal) -> Handlers[Port]:
    """Answer every call of every port from `journal`, with no handler behind it.

    Branches that run side by side are answered in the recorded order. A call that was cancelled while it was recorded
    waits to be cancelled again, by the same time limit or sibling.

    Raises, while running: Diverged at the first call that differs from the recording, or when calls are left over.
    """
    order, first = Order(journal), list[Diverged]()

    def at_start() -> None:
        nonlocal order
        order = Order(journal)
        first.clear()

    def diverged(problem: str) -> Diverged:
        first.append(
            Diverged(problem)
        )  # finalizers that run on the way out diverge too: what came first is what counts
        return first[0]

    async def answer(call: Call) -> Result[object, object]:
        entry = journal.at(show_path(call.path))
        now = _fingerprints(call)
        if entry is None or entry.call != call.name or entry.arguments != now:
            await checkpoint()  # a branch that is cancelled by now was so in the recording, before it made this call
            raise diverged(_difference(call, now, entry, order.unmade))
        order.begin(entry)
        try:
            if entry.result is None:
                await order.cancellation()
            await order.turn(entry)
        except Stalled:
            raise diverged(_standstill(call, entry, order.unmade)) from None
        finally:
            order.end(entry)
        return entry.result

    def at_end() -> None:
        left = order.unmade
        if left is not None:
            raise Diverged(f"the program ended, but the recording goes on with {left.call} at {left.path}")

    return Handlers.of_every_port(answer, at_start=at_start, at_end=at_end)


def _standstill(call: Call, entry: Entry, unmade: Entry | None) -> str:
    if entry.result is None or unmade is None:
        return f"{call} was cancelled when it was recorded, and nothing cancels it now"
    return f"the program does not make {unmade.call} at {unmade.path}, which was recorded before the end of {call}"


def _difference(call: Call, now: dict[str, tuple[str, str]], entry: Entry | None, following: Entry | None) -> str:
    lines = [f"the program diverges from the recording at {show_path(call.path)}", f"  now:      {call.name}"]
    if entry is None:
        there = (
            "nothing" if following is None else f"nothing here; it goes on with {following.call} at {following.path}"
        )
        return "\n".join([*lines, f"  recorded: {there}"])
    lines.append(f"  recorded: {entry.call}")
    if entry.call == call.name:
        name = next(name for name in {**entry.arguments, **now} if entry.arguments.get(name) != now.get(name))
        absent = ("", "absent")
        lines += [
            f"  first difference: argument {name!r}",
            f"    now:      {now.get(name, absent)[1]}",
            f"    recorded: {entry.arguments.get(name, absent)[1]}",
        ]
    return "\n".join(lines)


def _fingerprints(call: Call) -> dict[str, tuple[str, str]]:
    """Give the digest and a clipped text of each argument of a call, by name."""
    bound = _signature(call.operation).bind(None, *call.arguments, **call.keywords)
    bound.apply_defaults()
    _, *arguments = bound.arguments.items()
    return {name: (_digest(call, name, value), _clip(repr(value))) for name, value in arguments}


_signature = cache(inspect.signature)


def _digest(call: Call, name: str, value: object) -> str:
    try:
        return digest(value)
    except UnrecordableError as error:
        raise UnrecordableError(f"argument {name!r} of {call}: {error}") from error


def _clip(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
