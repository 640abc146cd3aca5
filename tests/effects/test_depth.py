"""Depth costs memory and never recursion: long programs, nested ones, and stages made of them."""

from typing import Never

import pytest

from crucible.effects import (
    Do,
    Eff,
    Failure,
    Handlers,
    Result,
    Success,
    TimedOut,
    attempt,
    do,
    fail,
    perform,
    pure,
    scoped,
    timeout,
)
from crucible.kitchen.context import Context
from crucible.kitchen.stage import stage
from tests.effects.fakes import CrashError, Work, Worker, crash, hang, said, working

DEEP = 100_000


class TestDepth:
    def test_many_effects_in_sequence(self) -> None:
        @do
        def counting() -> Do[str, Work, int]:
            total = 0
            for _ in range(DEEP):
                total = yield from perform(Work.add, total)
            return total

        class Silent(Worker):
            async def add(self, a: int, b: int = 1) -> Result[int, str]:
                return Success(a + b)

        assert Work.handled_by(Silent()).run(counting()) == Success(DEEP)

    def test_binds_nested_to_the_left(self) -> None:
        eff: Eff[int, Never, Never] = pure(0)
        for _ in range(DEEP):
            eff = eff.bind(lambda n: pure(n + 1))
        assert Handlers.none().run(eff) == Success(DEEP)

    def test_binds_nested_to_the_right(self) -> None:
        def count(n: int) -> Eff[int, Never, Never]:
            return pure(n) if n == DEEP else pure(n + 1).bind(count)

        assert Handlers.none().run(count(0)) == Success(DEEP)

    def test_maps(self) -> None:
        eff: Eff[int, Never, Never] = pure(0)
        for _ in range(DEEP):
            eff = eff.map(lambda n: n + 1)
        assert Handlers.none().run(eff) == Success(DEEP)

    def test_lashes_and_alts(self) -> None:
        eff: Eff[int, int, Never] = fail(0)
        for _ in range(DEEP // 2):
            eff = eff.lash(lambda n: fail(n + 1)).alt(lambda n: n + 1)
        assert Handlers.none().run(eff) == Failure(DEEP)

    def test_attempts_and_scopes(self) -> None:
        eff: Eff[object, Never, Never] = pure(0)
        for _ in range(10_000):
            eff = attempt(scoped("deeper", eff))
        assert Handlers.none().run(eff.map(lambda _: "reached")) == Success("reached")

    @pytest.mark.parametrize("innermost", [pure(0), fail("no")], ids=["success", "failure"])
    def test_do_blocks(self, innermost: Eff[int, str, Never]) -> None:
        finalized: list[int] = []

        @do
        def nested(depth: int) -> Do[str, Never, int]:
            try:
                return (yield from (nested(depth - 1) if depth else innermost)) + 1
            finally:
                finalized.append(depth)

        result = Handlers.none().run(nested(10_000))
        assert result == (Success(10_001) if isinstance(innermost, type(pure(0))) else Failure("no"))
        assert finalized == list(range(10_001))

    def test_a_defect_in_deep_scopes(self) -> None:
        eff: Eff[object, str, Work] = crash("bang")
        for _ in range(10_000):
            eff = scoped("deeper", eff)
        with pytest.raises(CrashError) as caught:
            working().run(eff)
        assert caught.value.__notes__[0].count("deeper") == 10_000

    def test_finalizers_that_perform_effects_under_cancellation(self) -> None:
        @do
        def nested(depth: int) -> Do[str, Work, None]:
            try:
                yield from (nested(depth - 1) if depth else hang("a"))
            finally:
                yield from said("closed")

        worker = Worker()
        assert Work.handled_by(worker).run(timeout(nested(3_000), seconds=0.2)) == Failure(TimedOut(seconds=0.2))
        assert worker.log.count("closed") == 3_001


@pytest.mark.slow
class TestDepthOfStages:
    def test_in_sequence(self) -> None:
        chain = counting_stage
        for _ in range(10_000):
            chain = chain >> counting_stage
        assert Handlers.none().run(chain(Context.start(0))).unwrap().state == 10_001

    def test_in_sequence_to_the_right(self) -> None:
        chain = counting_stage
        for _ in range(10_000):
            chain = counting_stage >> chain
        assert Handlers.none().run(chain(Context.start(0))).unwrap().state == 10_001

    def test_within_workflows(self) -> None:
        workflow = counting_stage
        for _ in range(10_000):
            workflow = workflow.named("part")
        assert Handlers.none().run(workflow(Context.start(0))).unwrap().state == 1

    def test_within_workflows_that_fail(self) -> None:
        workflow = failing_stage
        for _ in range(10_000):
            workflow = workflow.named("part")
        assert Handlers.none().run(workflow(Context.start(0))) == Failure("no")


@stage
def counting_stage(context: Context[int]) -> Do[Never, Never, Context[int]]:
    number = yield from pure(context.state + 1)
    return context.to(number)


@stage
def failing_stage(_: Context[int]) -> Do[str, Never, Context[int]]:
    return (yield from fail("no"))
