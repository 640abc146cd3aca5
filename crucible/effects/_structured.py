"""What the interpreter does itself: concurrency, time limits, finalizers, telling, names of places."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Never, Protocol, TypeVar

import anyio
import attrs
from returns.result import Failure, Result

from crucible.effects._cancelling import ours
from crucible.effects._driver import Failed, Located, drive, evaluate
from crucible.effects._eff import Do, Eff, Native, do
from crucible.effects._path import UNRECORDED, Path
from crucible.effects._port import Port
from crucible.effects._run import Run, Scope, Writer
from crucible.effects._siblings import Siblings

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R_contra = TypeVar("R_contra", contravariant=True)
W = TypeVar("W", bound=Writer)

_LOGGER = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class TimedOut:
    """A computation did not end within its time."""

    seconds: float

    def __str__(self) -> str:
        return f"timed out after {self.seconds:g} s"


def tell(event: object) -> Eff[None, Never, Never]:
    """Append an event to the run's telemetry. It does no I/O, unless the writer of the run is full and flushes."""

    async def step(run: Run, scope: Scope) -> None:
        if run.writer is not None:  # without one the path is not even made: that takes as long as nesting is deep
            run.writer.append(scope.path, event)
            if run.writer.is_full:
                await run.writer.flush()

    return Native(step)


def flush() -> Eff[None, Never, Never]:
    """Let the writer bring what was told so far to its stores."""

    async def step(run: Run, scope: Scope) -> None:
        if run.writer is not None:
            await run.writer.flush()

    return Native(step)


def current_path() -> Eff[Path, Never, Never]:
    """Give the names of the scopes this computation stands in, outermost first: the same in every run of it."""

    async def step(run: Run, scope: Scope) -> Path:
        return scope.path

    return Native(step)


def choice(name: str, number: int) -> Eff[int, Never, Never]:
    """Give `number`; in a run that is replayed or resumed, the number that was given here when it was recorded.

    It is for what a computation takes from the world without a port: a time, a random seed.
    """

    async def step(run: Run, scope: Scope) -> int:
        return run.chosen((*scope.path, name), number)

    return Native(step)


def handled_ports() -> Eff[frozenset[type[Port]], Never, Never]:
    """Give the ports that are handled where this is interpreted (`Port` itself stands for all): what is missing can be told first."""

    async def step(run: Run, scope: Scope) -> frozenset[type[Port]]:
        return run.ports

    return Native(step)


def located(eff: Eff[A, E, R]) -> Eff[A, Located[E], R]:
    """Give an error of `eff` together with the path of the scope in which it arose."""

    async def step(run: Run, scope: Scope) -> A:
        result = await drive(run, scope, eff)
        if isinstance(result, Failure):
            raise Failed(result.failure())
        return result.unwrap()

    return Native(step)


class Interpret(Protocol[R_contra]):
    """Runs computations from outside of any do-block, under paths that begin with `telemetry`."""

    @property
    def is_replaying(self) -> bool:
        """Whether what happens now happened before, and is only repeated from a recording."""

    async def __call__(self, eff: Eff[A, E, R_contra], /) -> Result[A, E]:
        """Run `eff` to its result."""


class _Interpreter:
    """Interprets with the handlers of a run, in a scope of its own."""

    def __init__(self, run: Run, scope: Scope) -> None:
        self._run = run
        self._scope = scope

    @property
    def is_replaying(self) -> bool:
        return self._run.is_replaying

    async def __call__(self, eff: Eff[A, E, R], /) -> Result[A, E]:
        return (await drive(self._run, self._scope, eff)).alt(lambda located: located.error)


def telling_to(
    make_writer: Callable[[Interpret[R2]], W],
    eff: Eff[A, E, R],
    *,
    beside: Callable[[W], Awaitable[None]] | None = None,
) -> Eff[A, E, R | R2]:
    """Run `eff` with a writer that flushes through ports: `make_writer` is given the means to perform effects.

    These are no part of a recording (see `unrecorded`): they depend on the clock. The writer is flushed when `eff` ended,
    however it ended. `beside(writer)` runs for as long as `eff` does, and is cancelled then.
    """

    async def step(run: Run, scope: Scope) -> A:
        writer = make_writer(_Interpreter(run, scope.child("telemetry").child(UNRECORDED)))

        async def work() -> A:
            return await evaluate(attrs.evolve(run, writer=writer), scope, eff)

        try:
            return await (work() if beside is None else _with_beside(work, lambda: beside(writer)))
        finally:
            with anyio.CancelScope(shield=True):
                await writer.flush()

    return Native(step)


async def _with_beside(work: Callable[[], Awaitable[A]], beside: Callable[[], Awaitable[None]]) -> A:
    """Give what `work` gives, or raise what it raises, as itself; `beside` runs as long, and what it raises ends it alone."""
    done: list[A] = []
    raised: BaseException | None = None

    async def attend() -> None:
        try:
            await beside()
        except Exception:  # it is a convenience: nothing that goes wrong in it may stop the work
            _LOGGER.exception("what ran beside a computation went wrong, and has ended")

    async with anyio.create_task_group() as group:
        group.start_soon(attend)
        try:
            done.append(await work())
        except BaseException as error:
            raised = error
        group.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return done[0]


def timeout(eff: Eff[A, E, R], *, seconds: float) -> Eff[A, E | TimedOut, R]:
    """Run `eff`, and fail with `TimedOut` when it takes longer; its finalizers run first."""

    async def step(run: Run, scope: Scope) -> A:
        with anyio.move_on_after(seconds) as limit, ours(limit):
            value = await evaluate(run, scope, eff)
        if limit.cancelled_caught:
            raise Failed(TimedOut(seconds=seconds))
        return value

    return Native(step)


def uncancellable(eff: Eff[A, E, R]) -> Eff[A, E, R]:
    """Run `eff` to its end even when the computation around it is cancelled meanwhile."""

    async def step(run: Run, scope: Scope) -> A:
        shield = anyio.CancelScope(shield=True)
        with shield:
            value = await evaluate(run, scope, eff)
        return value

    return Native(step)


@do
def bracket(
    acquire: Eff[A, E, R], use: Callable[[A], Eff[B, E2, R2]], release: Callable[[A], Eff[object, Never, R3]]
) -> Do[E | E2, R | R2 | R3, B]:
    """Acquire, use, and always release: after success, failure, an exception, a time limit or ctrl-C.

    A release that can fail does not type-check: say what happens then (`attempt(close(it))` ignores it).
    """
    resource = yield from uncancellable(acquire)
    try:
        value = yield from use(resource)
    finally:
        yield from uncancellable(release(resource))
    return value


def gather(effs: Iterable[Eff[A, E, R]], *, limit: int | None = None) -> Eff[list[A], E, R]:
    """Run computations concurrently, at most `limit` at once, and give their values in order.

    The first failure cancels the others and waits until their finalizers ran. Each computation has its own path
    (`gather/[3]/...`), so nothing depends on the order in which they end.

    Raises: ValueError when `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"gather needs a limit of at least 1, not {limit}")
    branches = list(effs)

    async def step(run: Run, scope: Scope) -> list[A]:
        base = scope.child("gather")
        siblings = Siblings()
        waiting = iter(enumerate(branches))
        values: dict[int, A] = {}

        async def work() -> None:
            """Take one branch after another until none is left or one went wrong."""
            for index, branch in waiting:
                if siblings.stopped:
                    return
                try:
                    values[index] = await evaluate(run, Scope(base, f"[{index}]"), branch)
                except BaseException as error:
                    siblings.stop(index, error)

        await siblings.run([work] * min(len(branches), limit or len(branches)))
        return [values[index] for index in range(len(branches))]

    return Native(step)


def both(first: Eff[A, E, R], second: Eff[B, E2, R2]) -> Eff[tuple[A, B], E | E2, R | R2]:
    """Run two computations of different types concurrently and give both values."""
    branches: list[Eff[A | B, E | E2, R | R2]] = [first, second]
    return gather(branches).map(lambda values: (values[0], values[1]))  # type: ignore[arg-type,return-value]  # in order
