"""One port that does nothing useful, the handler that writes down what was done, and programs made of it."""

from abc import abstractmethod
from itertools import cycle
from typing import Never

import anyio
import attrs
from anyio.lowlevel import checkpoint

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Port,
    Proceed,
    Result,
    Success,
    attempt,
    do,
    not_repeatable,
    perform,
)


class Work(Port):
    """Operations that leave a trace."""

    @abstractmethod
    async def say(self, word: str) -> Result[str, str]: ...

    @abstractmethod
    async def add(self, a: int, b: int = 1) -> Result[int, str]: ...

    @abstractmethod
    async def refuse(self, why: str) -> Result[int, str]: ...

    @abstractmethod
    async def crash(self, why: str) -> Result[int, str]: ...

    @abstractmethod
    async def rest(self, seconds: float) -> Result[int, str]: ...

    @abstractmethod
    async def hang(self, name: str) -> Result[int, str]: ...

    @not_repeatable
    @abstractmethod
    async def pay(self, amount: int) -> Result[int, str]: ...


class CrashError(Exception):
    """A defect of a handler."""


class Worker(Work):
    """Does the work and writes it down. With `steps`, its calls give way to others that often, in turn."""

    def __init__(self, *steps: int) -> None:
        self.log: list[str] = []
        self._steps = cycle(steps or (0,))

    async def say(self, word: str) -> Result[str, str]:
        self.log.append(word)
        await self._give_way()
        return Success(word)

    async def add(self, a: int, b: int = 1) -> Result[int, str]:
        self.log.append(f"{a} + {b}")
        await self._give_way()
        return Success(a + b)

    async def refuse(self, why: str) -> Result[int, str]:
        self.log.append(f"refuse {why}")
        await self._give_way()
        return Failure(why)

    async def crash(self, why: str) -> Result[int, str]:
        self.log.append(f"crash {why}")
        await self._give_way()
        raise CrashError(why)

    async def rest(self, seconds: float) -> Result[int, str]:
        self.log.append("rest")
        await anyio.sleep(seconds)
        return Success(0)

    async def hang(self, name: str) -> Result[int, str]:
        self.log.append(f"{name} begins")
        try:
            await anyio.sleep_forever()
        finally:
            self.log.append(f"{name} is cancelled")
        return Success(0)

    async def pay(self, amount: int) -> Result[int, str]:
        self.log.append(f"pay {amount}")
        await self._give_way()
        return Success(amount)

    async def _give_way(self) -> None:
        for _ in range(next(self._steps)):
            await checkpoint()


def say(word: str) -> Eff[str, str, Work]:
    return perform(Work.say, word)


def add(a: int, b: int) -> Eff[int, str, Work]:
    return perform(Work.add, a, b)


def refuse(why: str) -> Eff[int, str, Work]:
    return perform(Work.refuse, why)


def crash(why: str) -> Eff[int, str, Work]:
    return perform(Work.crash, why)


def hang(name: str) -> Eff[int, str, Work]:
    return perform(Work.hang, name)


def said(word: str) -> Eff[object, Never, Work]:
    """Say a word, as a finalizer may: without failing."""
    return attempt(say(word))


@do
def guarded(body: Eff[object, str, Work], last: Eff[object, str, Work]) -> Do[str, Work, None]:
    """Run a body, and after it, whatever happened, a last program that may fail as well."""
    try:
        yield from body
    finally:
        yield from last


@attrs.frozen
class Observed:
    """All that a run shows: its result, or the exception that left it, and what was done, in order."""

    outcome: str
    trace: tuple[str, ...]


def observe(
    eff: Eff[object, object, Work], worker: Worker | None = None, handlers: Handlers[Work] | None = None
) -> Observed:
    """Run a program and tell all there is to see; `handlers` are those of the worker, with something on top."""
    worker = Worker() if worker is None else worker
    try:
        outcome = repr((Work.handled_by(worker) if handlers is None else handlers).run(eff))
    except CrashError as defect:
        outcome = repr(defect)
    return Observed(outcome=outcome, trace=tuple(worker.log))


async def unchanged(call: Call, proceed: Proceed) -> Result[object, object]:
    """Pass a call on: the layer that does nothing."""
    return await proceed(call)


def working() -> Handlers[Work]:
    """Give handlers that work and keep no trace."""
    return Work.handled_by(Worker())
