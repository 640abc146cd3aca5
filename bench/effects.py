"""What the effect core costs: against bare awaited calls, against nesting, against one sleep, against a peer.

Prints medians; no time fails the program. `python bench/effects.py`, see bench/README.md.
"""

import asyncio
import importlib.util
import statistics
import sys
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Never, TypeAlias

import anyio

from crucible.effects import Do, Eff, Handlers, Port, Result, Success, do, gather, perform, pure
from crucible.kitchen.context import Context
from crucible.kitchen.stage import stage

EFFECTS = 20_000
BINDS = 100_000
REPETITIONS = 15
SLEEPERS = 10_000
SLEEP_SECONDS = 3.0
SLEEP_REPETITIONS = 7
NESTED_STAGES = 20

Loop: TypeAlias = Callable[[], Awaitable[object]]


class Adder(Port):
    """Two cheap operations."""

    @abstractmethod
    async def add(self, a: int, b: int) -> Result[int, str]:
        """Add."""

    @abstractmethod
    async def sleep(self, seconds: float) -> Result[None, str]:
        """Sleep."""


class Plain(Adder):
    """Adds and sleeps."""

    async def add(self, a: int, b: int) -> Result[int, str]:
        """Add."""
        return Success(a + b)

    async def sleep(self, seconds: float) -> Result[None, str]:
        """Sleep."""
        await anyio.sleep(seconds)
        return Success(None)


plain = Plain()
handlers = Adder.handled_by(plain)


async def bare_calls() -> int:
    total = 0
    for number in range(EFFECTS):
        total = (await plain.add(total, number)).unwrap()
    return total


@do
def performed() -> Do[str, Adder, int]:
    total = 0
    for number in range(EFFECTS):
        total = yield from perform(Adder.add, total, number)
    return total


@stage
def performing(context: Context[int]) -> Do[str, Adder, Context[int]]:
    total = yield from performed()
    return context.to(total)


def nested(depth: int) -> Eff[Context[int], str, Adder]:
    workflow = performing
    for level in range(depth):
        workflow = workflow.named(f"level {level}")
    return workflow(Context.start(0))


def running(eff: Eff[object, str, Adder]) -> Loop:
    async def loop() -> object:
        return (await handlers.arun(eff)).unwrap()

    return loop


async def bare_sleepers() -> None:
    async with anyio.create_task_group() as group:
        for _ in range(SLEEPERS):
            group.start_soon(plain.sleep, SLEEP_SECONDS)


async def asyncio_sleepers() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(SLEEPERS):
            group.create_task(asyncio.sleep(SLEEP_SECONDS))


def bound() -> Eff[int, Never, Never]:
    eff: Eff[int, Never, Never] = pure(0)
    for _ in range(BINDS):
        eff = eff.bind(lambda n: pure(n + 1))
    return eff


def stateless_loop() -> Loop | None:
    """Give the same loop on `stateless`, whose handlers are plain functions; None where it is not installed."""
    if not (importlib.util.find_spec("stateless") and importlib.util.find_spec("cloudpickle")):
        return None
    stateless: Any = importlib.import_module("stateless")  # not a dependency, so there are no types to read

    class Add(stateless.Ability):  # type: ignore[misc]  # as above
        def __init__(self, a: int, b: int) -> None:
            self.a = a
            self.b = b

    def handle_add(ability: Add) -> int:
        return ability.a + ability.b

    def program() -> Any:
        total = 0
        for number in range(EFFECTS):
            total = yield from Add(total, number)
        return total

    async def loop() -> object:
        return await stateless.run_async(stateless.handle(handle_add)(program)())

    return loop


class Times:
    """The seconds of several loops, timed in turn, so that a busy moment of the machine meets all of them."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self._seconds = seconds

    def median(self, name: str) -> float:
        """Give the median seconds of a loop."""
        return statistics.median(self._seconds[name])

    def ratio(self, name: str, base: str) -> float:
        """Give the median of the ratios between neighbours in time."""
        pairs = zip(self._seconds[name], self._seconds[base], strict=True)
        return statistics.median(one / other for one, other in pairs)


async def timed(loops: dict[str, Loop], repetitions: int) -> Times:
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repetitions):
        for name, loop in loops.items():
            start = time.perf_counter()
            await loop()
            seconds[name].append(time.perf_counter() - start)
    return Times(seconds)


def show(name: str, value: str, note: str = "") -> None:
    print(f"  {name:<44} {value:>14}  {note}".rstrip())


async def effects() -> None:
    loops: dict[str, Loop] = {
        "bare": bare_calls,
        "eff": running(performed()),
        "flat": running(nested(0)),
        "nested": running(nested(NESTED_STAGES)),
    }
    peer = stateless_loop()
    if peer is not None:
        loops["stateless"] = peer
    took = await timed(loops, REPETITIONS)

    def line(name: str, key: str, base: str = "", note: str = "") -> None:
        ratio = f"{took.ratio(key, base):.2f}x {note}" if base else ""
        show(name, f"{took.median(key) / EFFECTS * 1e6:.2f} us each", ratio)

    print(f"(a) {EFFECTS:,} effects in a do-block")
    line("bare awaited call of the same method", "bare")
    line("yield from perform(...)", "eff", "bare", "the bare call, budget 3x")
    print(f"(b) the same effects in a stage, under {NESTED_STAGES} nested workflows")
    line("flat", "flat")
    line("nested", "nested", "flat", "flat, budget 1.2x")
    print("(e) the same loop on a peer")
    if peer is None:
        show("stateless", "not installed", "pip install stateless")
    else:
        line("stateless (plain functions answer, no await)", "stateless", "bare", "the bare call")


async def sleepers() -> None:
    async def one() -> None:
        await anyio.sleep(SLEEP_SECONDS)

    sleeping = gather([perform(Adder.sleep, SLEEP_SECONDS)] * SLEEPERS)
    loops: dict[str, Loop] = {
        "ours": running(sleeping),
        "anyio": bare_sleepers,
        "asyncio": asyncio_sleepers,
        "one": one,
    }
    took = await timed(loops, SLEEP_REPETITIONS)
    print(f"(c) {SLEEPERS:,} computations that sleep {SLEEP_SECONDS:g} s at once")
    budget = ", budget 1.3x"
    for key, name in [("ours", "gather"), ("anyio", "bare anyio task group"), ("asyncio", "bare asyncio.TaskGroup")]:
        show(
            name,
            f"{took.median(key):.2f} s",
            f"{took.ratio(key, 'one'):.2f}x one sleep{budget if key == 'ours' else ''}",
        )


async def binds() -> None:
    eff = bound()

    async def loop() -> object:
        return await Handlers.none().arun(eff)

    took = await timed({"binds": loop}, REPETITIONS)
    print(f"(d) {BINDS:,} binds nested to the left")
    show("binds", f"{BINDS / took.median('binds'):,.0f} /s")


def main() -> None:
    print(
        f"crucible.effects on CPython {sys.version.split()[0]}, medians of {REPETITIONS} ({SLEEP_REPETITIONS} for (c))"
    )
    for part in (effects, binds, sleepers):
        anyio.run(part)


if __name__ == "__main__":
    main()
