"""`replay`: a recorded run again, with nothing behind it."""

from typing import TypeVar

from anyio.lowlevel import checkpoint
from returns.result import Result

from crucible.effects._codec import UnrecordableError, digest
from crucible.effects._eff import Eff, scoped
from crucible.effects._handlers import Call, Handlers
from crucible.effects._hooks import Hooks
from crucible.effects._journal import Entry, Journal
from crucible.effects._order import Order, Stalled
from crucible.effects._path import UNRECORDED, Path, show_path
from crucible.effects._port import Port

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")

Fingerprints = dict[str, tuple[str, str]]


class NotRecorded(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call within `unrecorded` has no answer in a replay."""


def unrecorded(eff: Eff[A, E, R]) -> Eff[A, E, R]:
    """Run `eff` outside of every recording: what it does may depend on the clock, and nothing depends on what it gives.

    `record` and `resume` make its calls and do not write them down; in a `replay` the first of them raises `NotRecorded`.
    Telemetry is flushed so.
    """
    return scoped(UNRECORDED, eff)


def is_unrecorded(call: Call) -> bool:
    """Tell whether a call stands within `unrecorded`."""
    return any(name.startswith(UNRECORDED) for name in call.path)


class Diverged(Exception):  # noqa: N818  # what happened, not a kind of error
    """A program that is replayed does something else than what was recorded."""


class Recording:
    """What a journal held when a run began, and how far the run has followed it."""

    def __init__(self, journal: Journal) -> None:
        self._entries = {entry.path: entry for entry in journal}
        self.order = Order(self._entries.values())
        self._first: Diverged | None = None

    def at(self, path: str) -> Entry | None:
        """Find the call recorded at a path."""
        return self._entries.get(path)

    async def answer(self, call: Call, now: Fingerprints) -> Result[object, object]:
        """Answer `call` as it was answered, when its turn has come.

        Raises: Diverged when something else was recorded in its place.
        """
        entry = self.at(show_path(call.path))
        if entry is None or entry.call != call.name or entry.arguments != now:
            await checkpoint()  # a branch that is cancelled by now was so in the recording, before it made this call
            raise self._diverged(_difference(call, now, entry, self.order.unmade))
        self.order.begin(entry)
        try:
            if entry.result is None:
                await self.order.cancellation()
            await self.order.turn(entry)
        except Stalled:
            raise self._diverged(_standstill(call, entry, self.order.unmade)) from None
        finally:
            self.order.end(entry)
        return entry.result

    async def end(self, call: Call) -> None:
        """Wait, before `call` is made, until all that was recorded has happened: nothing overtakes it.

        Raises: Diverged when the program does not do it all.
        """
        try:
            await self.order.all_of_it()
        except Stalled:
            raise self._diverged(_difference(call, fingerprints(call), None, self.order.unmade)) from None

    def expect_all_made(self) -> None:
        """Make sure that nothing recorded is left over.

        Raises: Diverged when a call was not made.
        """
        left = self.order.unmade
        if left is not None:
            raise Diverged(f"the program ended, but the recording goes on with {left.call} at {left.path}")

    def _diverged(self, problem: str) -> Diverged:
        """Make the exception: finalizers that run on the way out diverge too, and what came first is what counts."""
        if self._first is None:
            self._first = Diverged(problem)
        return self._first


def replay(journal: Journal) -> Handlers[Port]:
    """Answer every call of every port from `journal`, with no handler behind it.

    Branches that run side by side are answered in the recorded order. A call that was cancelled while it was recorded
    waits to be cancelled again, by the same time limit or sibling.

    Raises, while running: Diverged at the first call that differs from the recording, or when calls are left over.
    """
    recording = Recording(journal)

    def at_start() -> None:
        nonlocal recording
        recording = Recording(journal)

    async def answer(call: Call) -> Result[object, object]:
        if is_unrecorded(call):
            raise NotRecorded(f"{call} is not part of the recording")
        return await recording.answer(call, fingerprints(call))

    def at_end() -> None:
        recording.expect_all_made()

    def choose(path: Path, number: int) -> int:
        return journal.choices.get(show_path(path), number)

    hooks = Hooks(at_start=at_start, at_end=at_end, choose=choose, replaying=lambda: True)
    return Handlers.of_every_port(answer, hooks=hooks)


def fingerprints(call: Call) -> Fingerprints:
    """Give the digest and a clipped text of each argument of a call, by name."""
    return {name: (_digest(call, name, value), _clip(repr(value))) for name, value in call.by_name.items()}


def _digest(call: Call, name: str, value: object) -> str:
    try:
        return digest(value)
    except UnrecordableError as error:
        raise UnrecordableError(f"argument {name!r} of {call}: {error}") from error


def _clip(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _standstill(call: Call, entry: Entry, unmade: Entry | None) -> str:
    if entry.result is None or unmade is None:
        return f"{call} was cancelled when it was recorded, and nothing cancels it now"
    return f"the program does not make {unmade.call} at {unmade.path}, which was recorded before the end of {call}"


def _difference(call: Call, now: Fingerprints, entry: Entry | None, following: Entry | None) -> str:
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
