"""`gather`: values in order, a limit, and what happens to the others when one goes wrong."""

from typing import Never

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Eff,
    Failure,
    Handlers,
    Path,
    Result,
    Success,
    TimedOut,
    bracket,
    current_path,
    gather,
    perform,
    pure,
    scoped,
    timeout,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, guarded, hang, refuse, said, say, working

LIMIT = 0.02


class Crowd(Worker):
    """Counts how many calls of `rest` are in progress at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.most = 0

    async def rest(self, seconds: float) -> Result[int, str]:
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(int(seconds)):
            await anyio.lowlevel.checkpoint()
        self.now -= 1
        return Success(int(seconds))


class Starter(Worker):
    """Lets all go on at the same moment, when the expected number has come; after it, none waits again."""

    def __init__(self, expected: int) -> None:
        super().__init__()
        self._missing = expected
        self._go = anyio.Event()

    async def say(self, word: str) -> Result[str, str]:
        self._missing -= 1
        if self._missing == 0:
            self._go.set()
        await self._go.wait()
        return Success(word)


class TestValues:
    @given(st.lists(st.integers(0, 5), max_size=8), st.one_of(st.none(), st.integers(1, 9)))
    def test_come_in_order_and_never_more_than_the_limit_at_once(self, steps: list[int], limit: int | None) -> None:
        crowd = Crowd()
        result = Work.handled_by(crowd).run(gather([perform(Work.rest, n) for n in steps], limit=limit))
        assert result == Success(steps)
        assert crowd.most <= (len(steps) if limit is None else limit)

    def test_run_as_many_at_once_as_the_limit_allows(self) -> None:
        crowd = Crowd()
        Work.handled_by(crowd).run(gather([perform(Work.rest, 9)] * 5, limit=3))
        assert crowd.most == 3

    def test_of_an_iterator_can_be_had_again(self) -> None:
        eff = gather(add(n, n) for n in range(3))
        assert working().run(eff) == working().run(eff) == Success([0, 2, 4])

    @pytest.mark.parametrize("limit", [0, -1])
    def test_need_a_limit_that_lets_one_begin(self, limit: int) -> None:
        with pytest.raises(ValueError, match=f"at least 1, not {limit}"):
            _ = gather([pure(1)], limit=limit)

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.one_of(st.none(), st.integers(1, 9)))
    def test_paths_do_not_depend_on_scheduling(self, steps: list[int], limit: int | None) -> None:
        def branch(n: int) -> Eff[Path, str, Work]:
            return perform(Work.rest, n).bind(lambda _: scoped("a", current_path()))

        paths = Work.handled_by(Crowd()).run(gather([branch(n) for n in steps], limit=limit)).unwrap()
        assert paths == [("gather", f"[{index}]", "a") for index in range(len(steps))]


def closing(name: str) -> Eff[object, str, Work]:
    """Hang until cancelled, then close with an effect that takes a while."""
    return bracket(pure(name), hang, lambda it: said(f"close {it}"))


def explode(_: object) -> Eff[object, Never, Work]:
    raise CrashError("late")


exploding = said("finalizing").bind(explode)


@pytest.mark.anyio
class TestAFailure:
    async def test_cancels_the_siblings_and_waits_for_their_finalizers(self) -> None:
        worker = Worker(5)
        failing = perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))
        assert await Work.handled_by(worker).arun(gather([closing("a"), failing, closing("b")])) == Failure("no")
        assert sorted(worker.log[-4:]) == ["a is cancelled", "b is cancelled", "close a", "close b"]

    async def test_lets_nothing_new_begin(self) -> None:
        worker = Worker()
        assert await Work.handled_by(worker).arun(gather([refuse("no"), *[say("late")] * 9], limit=1)) == Failure("no")
        assert worker.log == ["refuse no"]

    async def test_of_the_first_branch_is_given_where_several_fail_at_once(self) -> None:
        eff = gather([say(name).bind(refuse) for name in "abcdef"])
        assert await Work.handled_by(Starter(6)).arun(eff) == Failure("a")

    async def test_of_a_finalizer_is_dropped(self) -> None:
        worker = Worker()
        failing = perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))
        eff = gather([guarded(hang("a"), refuse("finally")), failing])
        assert await Work.handled_by(worker).arun(eff) == Failure("no")
        assert worker.log[-1] == "refuse finally"


@pytest.mark.anyio
class TestADefect:
    async def test_is_raised_as_itself(self) -> None:
        worker = Worker(1)
        with pytest.raises(CrashError, match="bang") as caught:
            await Work.handled_by(worker).arun(scoped("a", gather([closing("b"), crash("bang")])))
        assert caught.value.__notes__ == ["in crucible path a/gather/[1]"]
        assert worker.log[-1] == "close b"

    async def test_goes_before_a_failure(self) -> None:
        finalizing = bracket(pure(1), lambda _: hang("a"), lambda _: exploding)
        failing = perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))
        with pytest.raises(CrashError, match="late"):
            await working().arun(gather([failing, finalizing]))

    async def test_tells_of_another_that_came_at_the_same_time(self) -> None:
        branches: list[Eff[object, str, Work]] = [say("a").bind(crash), say("b").bind(refuse), say("c").bind(crash)]
        eff = gather([*branches, say("d")])
        with pytest.raises(CrashError, match="a") as caught:
            await Work.handled_by(Starter(4)).arun(eff)
        assert "at the same time, beside it: CrashError('c')" in caught.value.__notes__

    async def test_is_not_lost_when_all_are_cancelled(self) -> None:
        finalizing = bracket(pure(1), lambda _: hang("a"), lambda _: exploding)
        with pytest.raises(CrashError, match="late"):
            await working().arun(timeout(gather([finalizing, hang("b")]), seconds=LIMIT))

    async def test_that_ends_the_process_is_raised_as_itself(self) -> None:
        class Quitting(Worker):
            async def say(self, word: str) -> Result[str, str]:
                await anyio.lowlevel.checkpoint()
                raise SystemExit(3)

        with pytest.raises(SystemExit) as caught:
            await Work.handled_by(Quitting()).arun(gather([say("bye"), hang("a")]))
        assert caught.value.code == 3


@pytest.mark.anyio
class TestCancellation:
    async def test_of_the_whole_runs_all_finalizers(self) -> None:
        worker = Worker(3)
        eff = timeout(gather([closing("a"), gather([closing("b")])]), seconds=LIMIT)
        assert await Work.handled_by(worker).arun(eff) == Failure(TimedOut(seconds=LIMIT))
        assert {"close a", "close b"} <= set(worker.log)

    async def test_of_nothing_gives_nothing(self) -> None:
        assert await Handlers.none().arun(gather([])) == Success([])
