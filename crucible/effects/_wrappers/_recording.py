"""`record`: a run written down as it happens; `resume`: one that broke off goes on where its journal ends."""

from collections.abc import Callable
from typing import TypeVar

import anyio
from returns.result import Result

from crucible.effects._cancelling import cancelled_by_the_program
from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._hooks import Hooks
from crucible.effects._journal import Entry, Journal
from crucible.effects._path import Path, show_path
from crucible.effects._port import is_repeatable
from crucible.effects._wrappers._replaying import Fingerprints, Recording, fingerprints, is_unrecorded

R = TypeVar("R")


class _Recorder:
    """Writes calls into a journal, and, when the run breaks off, where it did."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._breaks: list[tuple[BaseException | None, int]] = []

    def begin(self) -> None:
        """Note that a run begins."""
        self._breaks = []

    def choose(self, path: Path, number: int) -> int:
        """Keep what the interpreter chooses, or give what it chose before."""
        return self._journal.choose(show_path(path), number)

    async def make(self, call: Call, proceed: Proceed, arguments: Fingerprints) -> Result[object, object]:
        """Make a call and write it down."""
        journal, path = self._journal, show_path(call.path)
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
            if not cancelled_by_the_program():
                self._breaks.append((None, journal.moment()))
            journal.append(answered())
            raise
        except BaseException as error:
            self._breaks.append((error, journal.moment()))
            raise
        journal.append(answered())
        return result

    def break_off(self, error: BaseException) -> None:
        """Let the journal end where the run did: what finalizers did on the way out is no part of the way on."""
        cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        causes = _causes(error)
        moments = [moment for raised, moment in self._breaks if (cancelled if raised is None else id(raised) in causes)]
        if moments:
            self._journal.end_at(moments[0])


def _causes(error: BaseException | None) -> frozenset[int]:
    """Give the ids of an exception and of those in whose course it was raised."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return frozenset(seen)


def record(handlers: Handlers[R], journal: Journal) -> Handlers[R]:
    """Write every call and its result to `journal`; `replay(journal)` then answers the same program without handlers.

    Put it outside of `retry`: what is recorded is the answer that the program got. Of a run that an exception or ctrl-C
    ended, the journal holds what was answered before: `resume` goes on from there.

    Raises, while running and before the call is made: JournalError for a journal that holds another run;
    UnrecordableError for an argument of an odd kind.
    """
    recorder = _Recorder(journal)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if is_unrecorded(call):
            return await proceed(call)
        journal.expect_none_at(show_path(call.path))
        return await recorder.make(call, proceed, fingerprints(call))

    hooks = Hooks(at_start=recorder.begin, at_break=recorder.break_off, choose=recorder.choose)
    return handlers.wrap(around, hooks)


class InDoubt(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call that must not be repeated began before the run broke off, and nobody knows whether it was carried out.

    `expecting` makes a typed failure of it.
    """

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"{self.call} began before the run broke off, and its answer was not recorded: find out whether it was "
            "carried out, and where it is safe to make it again, say so with resume(..., repeat=...)"
        )


def resume(
    handlers: Handlers[R], journal: Journal, *, repeat: Callable[[Call], bool] = lambda call: False
) -> Handlers[R]:
    """Go on with a run that broke off: what `journal` holds is answered from it, the rest is made, and recorded.

    An empty journal is the beginning of a run, so a program may always be started in this way. What a handler made before
    (sessions, futures) must be there still under the same id; a handler that lost it answers with an error of its port, such as
    SessionClosed.

    Args:
        handlers: those of the run that broke off, or equal ones.
        journal: what `record`, or `resume` itself, has written.
        repeat: tells of a call in doubt (see `Journal.in_doubt`) whether it may be made again.

    Raises, while running: InDoubt before a call in doubt that may not be; Diverged when the program is another one.
    """
    recorder, recording, in_doubt, repeating = _Recorder(journal), Recording(journal), frozenset[str](), False

    def at_start() -> None:
        nonlocal recording, in_doubt, repeating
        recorder.begin()
        recording, in_doubt = Recording(journal), journal.paths_in_doubt
        repeating = recording.order.goes_on

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        nonlocal repeating
        if is_unrecorded(call):
            return await proceed(call)
        path, now = show_path(call.path), fingerprints(call)
        if recording.at(path) is not None:
            return await recording.answer(call, now)
        if path in in_doubt and not repeat(call):
            raise InDoubt(call)
        await recording.end(call)
        repeating = False
        return await recorder.make(call, proceed, now)

    def at_end() -> None:
        recording.expect_all_made()

    def replaying() -> bool:
        return repeating

    hooks = Hooks(
        at_start=at_start, at_end=at_end, at_break=recorder.break_off, choose=recorder.choose, replaying=replaying
    )
    return handlers.wrap(around, hooks)
