"""Time limits, finalizers, what is told, and where an error arose."""

from contextlib import suppress
from typing import Never

import anyio
import pytest

from crucible.effects import (
    Do,
    Eff,
    Failure,
    Handlers,
    Interpret,
    Located,
    Path,
    Result,
    Success,
    TimedOut,
    attempt,
    both,
    bracket,
    current_path,
    do,
    fail,
    flush,
    gather,
    located,
    perform,
    pure,
    scoped,
    tell,
    telling_to,
    timeout,
    uncancellable,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, hang, refuse, said, say, working

pytestmark = pytest.mark.anyio

LIMIT = 0.02
TIMED_OUT = Failure(TimedOut(seconds=LIMIT))


def using(use: Eff[object, str, Work]) -> Eff[object, str, Work]:
    """Open something, use it, close it."""
    return bracket(say("open"), lambda _: use, lambda it: said(f"close {it}"))


class TestBracket:
    async def test_releases_after_success(self) -> None:
        worker = Worker()
        assert await Work.handled_by(worker).arun(using(add(1, 2))) == Success(3)
        assert worker.log == ["open", "1 + 2", "close open"]

    async def test_releases_after_failure(self) -> None:
        worker = Worker()
        assert await Work.handled_by(worker).arun(using(refuse("no"))) == Failure("no")
        assert worker.log == ["open", "refuse no", "close open"]

    async def test_releases_after_a_defect(self) -> None:
        worker = Worker()
        with pytest.raises(CrashError):
            await Work.handled_by(worker).arun(using(crash("bang")))
        assert worker.log == ["open", "crash bang", "close open"]

    async def test_releases_after_a_defect_of_the_function_that_makes_the_use(self) -> None:
        def broken(_: str) -> Eff[int, str, Work]:
            raise CrashError("bang")

        worker = Worker()
        with pytest.raises(CrashError):
            await Work.handled_by(worker).arun(bracket(say("open"), broken, said))
        assert worker.log == ["open", "open"]

    async def test_releases_after_a_time_limit(self) -> None:
        worker = Worker(3)
        assert await Work.handled_by(worker).arun(timeout(using(hang("a")), seconds=LIMIT)) == TIMED_OUT
        assert worker.log == ["open", "a begins", "a is cancelled", "close open"]

    async def test_releases_when_a_sibling_fails(self) -> None:
        worker = Worker(3)
        siblings = gather([using(hang("a")), perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))])
        assert await Work.handled_by(worker).arun(siblings) == Failure("no")
        assert worker.log[-2:] == ["a is cancelled", "close open"]
        assert worker.log.count("close open") == 1

    async def test_releases_what_was_acquired_when_the_limit_passed_meanwhile(self) -> None:
        worker = Worker()
        slowly = perform(Work.rest, 3 * LIMIT).bind(lambda _: say("open"))
        eff = bracket(slowly, lambda _: hang("a"), lambda it: said(f"close {it}"))
        assert await Work.handled_by(worker).arun(timeout(eff, seconds=LIMIT)) == TIMED_OUT
        assert worker.log[-1] == "close open"

    async def test_does_not_release_what_was_not_acquired(self) -> None:
        worker = Worker()
        eff = bracket(refuse("no"), lambda _: say("use"), lambda _: said("close"))
        assert await Work.handled_by(worker).arun(eff) == Failure("no")
        assert worker.log == ["refuse no"]

    async def test_nested_releases_the_inner_first(self) -> None:
        worker = Worker()
        eff = bracket(say("a"), lambda _: using(refuse("no")), lambda it: said(f"close {it}"))
        assert await Work.handled_by(worker).arun(timeout(eff, seconds=5)) == Failure("no")
        assert worker.log[-2:] == ["close open", "close a"]


class TestTimeout:
    async def test_leaves_what_ends_in_time_alone(self) -> None:
        assert await working().arun(timeout(add(1, 2), seconds=5)) == Success(3)

    async def test_leaves_a_failure_in_time_alone(self) -> None:
        assert await working().arun(timeout(refuse("no"), seconds=5)) == Failure("no")

    async def test_says_how_long_it_waited(self) -> None:
        assert str(TimedOut(seconds=0.5)) == "timed out after 0.5 s"

    async def test_can_be_recovered_from(self) -> None:
        eff = timeout(hang("a"), seconds=LIMIT).lash(lambda _: add(1, 1))
        assert await working().arun(eff) == Success(2)

    async def test_of_an_inner_program_does_not_end_the_outer(self) -> None:
        inner = attempt(timeout(hang("a"), seconds=LIMIT))
        assert await working().arun(timeout(inner, seconds=5)) == Success(TIMED_OUT)

    async def test_of_the_outer_program_is_not_taken_for_the_inner(self) -> None:
        inner = attempt(timeout(hang("a"), seconds=5))
        assert await working().arun(timeout(inner, seconds=LIMIT)) == TIMED_OUT


class TestUncancellable:
    async def test_runs_to_its_end_though_the_limit_passed(self) -> None:
        worker = Worker()
        slowly = uncancellable(perform(Work.rest, 3 * LIMIT).bind(lambda _: say("done")))
        await Work.handled_by(worker).arun(timeout(slowly.bind(lambda _: hang("a")), seconds=LIMIT))
        assert worker.log[:2] == ["rest", "done"]

    async def test_gives_its_value_though_the_limit_passed(self) -> None:
        eff = timeout(uncancellable(perform(Work.rest, 3 * LIMIT)), seconds=LIMIT)
        assert await working().arun(eff) == Success(0)

    async def test_passes_failures_on(self) -> None:
        assert await working().arun(uncancellable(refuse("no"))) == Failure("no")


class TestLocated:
    @pytest.mark.parametrize(
        ("around", "path"),
        [
            (lambda eff: eff, ("here",)),
            (lambda eff: scoped("outer", eff), ("outer", "here")),
            (lambda eff: gather([pure(1), eff]), ("gather", "[1]", "here")),
            (lambda eff: timeout(eff, seconds=5), ("here",)),
            (lambda eff: uncancellable(scoped("shielded", gather([eff]))), ("shielded", "gather", "[0]", "here")),
            (lambda eff: eff.alt(lambda why: why), ("here",)),
            (lambda eff: bracket(pure(1), lambda _: eff, lambda _: pure(None)), ("here",)),
        ],
    )
    async def test_gives_the_place_where_the_error_arose(self, around: object, path: Path) -> None:
        assert callable(around)
        assert await working().arun(located(around(scoped("here", refuse("no"))))) == Failure(
            Located(path=path, error="no")
        )

    async def test_changes_no_success(self) -> None:
        assert await working().arun(located(add(1, 2))) == Success(3)

    async def test_reads_as_path_and_error(self) -> None:
        assert str(Located(path=("load", "#1"), error="no")) == "load/#1: no"


class Notebook:
    """A writer that keeps what is told, and what was told until each flush."""

    def __init__(self) -> None:
        self.told: list[tuple[Path, object]] = []
        self.flushed: list[int] = []

    @property
    def is_full(self) -> bool:
        return False

    def append(self, path: Path, event: object) -> None:
        self.told.append((path, event))

    async def flush(self) -> None:
        self.flushed.append(len(self.told))


class TestTelling:
    async def test_is_kept_with_its_path_in_order(self) -> None:
        writer = Notebook()
        eff = tell(1).bind(lambda _: scoped("a", tell(2))).bind(lambda _: gather([tell(3), tell(4)], limit=1))
        assert await Handlers.none().arun(eff, writer=writer) == Success([None, None])
        assert writer.told == [((), 1), (("a",), 2), (("gather", "[0]"), 3), (("gather", "[1]"), 4)]

    async def test_is_dropped_where_nobody_listens(self) -> None:
        assert await Handlers.none().arun(tell("hello").bind(lambda _: flush())) == Success(None)

    async def test_is_flushed_when_asked_and_at_the_end(self) -> None:
        writer = Notebook()
        await Handlers.none().arun(tell(1).bind(lambda _: flush()).bind(lambda _: tell(2)), writer=writer)
        assert writer.flushed == [1, 2]

    @pytest.mark.parametrize("ending", [pure(1), refuse("no"), crash("bang"), hang("a")])
    async def test_is_flushed_however_the_run_ends(self, ending: Eff[object, str, Work]) -> None:
        writer = Notebook()
        with anyio.move_on_after(LIMIT), suppress(CrashError):
            await working().arun(tell(1).bind(lambda _: ending), writer=writer)
        assert writer.flushed == [1]


class TestTellingTo:
    """`telling_to` gives a writer the means to perform effects itself."""

    class Saying(Notebook):
        def __init__(self, interpret: Interpret[Work]) -> None:
            super().__init__()
            self._interpret = interpret

        async def flush(self) -> None:
            await anyio.lowlevel.checkpoint()
            await self._interpret(say(f"{len(self.told)} told").bind(lambda _: tell("not to myself")))

    @pytest.mark.parametrize("ending", [pure(1), refuse("no"), crash("bang"), hang("a")])
    async def test_flushes_however_the_program_ends(self, ending: Eff[object, str, Work]) -> None:
        worker, outside = Worker(), Notebook()
        eff = telling_to(self.Saying, tell(1).bind(lambda _: ending))
        with anyio.move_on_after(LIMIT), suppress(CrashError):
            await Work.handled_by(worker).arun(eff, writer=outside)
        assert worker.log[-1] == "1 told"
        assert outside.told == [(("telemetry", "(unrecorded)"), "not to myself")]

    async def test_changes_no_result(self) -> None:
        assert await working().arun(telling_to(self.Saying, add(1, 2))) == Success(3)
        assert await working().arun(telling_to(self.Saying, refuse("no"))) == Failure("no")

    async def test_gives_the_writer_failures_as_values(self) -> None:
        seen: list[Result[int, str]] = []

        class Refused(Notebook):
            def __init__(self, interpret: Interpret[Work]) -> None:
                super().__init__()
                self._interpret = interpret

            async def flush(self) -> None:
                seen.append(await self._interpret(refuse("full")))

        assert await working().arun(telling_to(Refused, add(1, 2))) == Success(3)
        assert seen == [Failure("full")]


async def test_the_current_path_is_that_of_the_scopes() -> None:
    @do
    def three() -> Do[Never, Never, list[Path]]:
        here = yield from current_path()
        there = yield from scoped("a", current_path())
        elsewhere = yield from gather([current_path()])
        return [here, there, *elsewhere]

    assert await Handlers.none().arun(three()) == Success([(), ("a",), ("gather", "[0]")])


async def test_both_gives_two_values_of_different_types() -> None:
    assert await working().arun(both(add(1, 2), say("hello"))) == Success((3, "hello"))
    assert await working().arun(both(add(1, 2), fail("no"))) == Failure("no")
