"""The interpreter: failures, defects and cancellation in do-blocks, and depth that costs no recursion."""

from collections.abc import Generator
from typing import Never

import anyio
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
    perform,
    pure,
    scoped,
    timeout,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, guarded, hang, observe, refuse, said, say, working


class TestFailure:
    def test_cannot_be_swallowed_by_except_exception(self) -> None:
        @do
        def careless() -> Do[str, Work, str]:
            try:
                yield from refuse("no")
            except Exception:  # noqa: BLE001  # what the test is about
                return "swallowed"
            return "answered"

        assert working().run(careless()) == Failure("no")

    def test_runs_the_finalizers_inside_out(self) -> None:
        assert observe(guarded(guarded(refuse("no"), say("inner")), say("outer"))).trace == (
            "refuse no",
            "inner",
            "outer",
        )

    def test_of_a_finalizer_replaces_the_first(self) -> None:
        assert observe(guarded(refuse("first"), refuse("second"))).outcome == "<Failure: second>"

    def test_reads_as_its_error_where_a_block_catches_everything(self) -> None:
        @do
        def reported() -> Do[str, Work, str]:
            try:
                yield from refuse("no")
            except BaseException as error:  # noqa: BLE001  # what the test is about
                return str(error)
            return "answered"

        assert working().run(reported()) == Success("no")


class TestDefect:
    def test_of_a_handler_can_be_caught_where_it_was_caused(self) -> None:
        @do
        def careful() -> Do[str, Work, int]:
            try:
                return (yield from crash("bang"))
            except CrashError:
                return (yield from add(1, 1))

        assert working().run(careful()) == Success(2)

    def test_is_not_taken_for_a_failure(self) -> None:
        with pytest.raises(CrashError, match="bang"):
            working().run(attempt(crash("bang")).bind(pure).lash(lambda _: pure("recovered")).alt(str))

    def test_tells_once_where_it_arose(self) -> None:
        with pytest.raises(CrashError) as caught:
            working().run(scoped("load", guarded(scoped("read/it", crash("bang")), say("closed"))))
        assert caught.value.__notes__ == ["in crucible path load/read%2Fit"]

    def test_of_a_finalizer_tells_where_it_arose(self) -> None:
        @do
        def broken() -> Do[str, Work, None]:
            try:
                yield from refuse("no")
            finally:
                raise CrashError("in the finalizer")

        with pytest.raises(CrashError, match="in the finalizer") as caught:
            working().run(scoped("load", broken()))
        assert caught.value.__notes__ == ["in crucible path load"]

    @pytest.mark.parametrize("where", ["map", "bind", "alt", "lash", "block"])
    def test_of_the_program_leaves_the_run(self, where: str) -> None:
        def broken(_: object) -> Never:
            raise CrashError(where)

        programs: dict[str, Eff[object, object, Work]] = {
            "map": say("a").map(broken),
            "bind": say("a").bind(broken),
            "alt": refuse("a").alt(broken),
            "lash": refuse("a").lash(broken),
            "block": do(broken)(1),
        }
        with pytest.raises(CrashError, match=where) as caught:
            working().run(scoped("here", programs[where]))
        assert caught.value.__notes__ == ["in crucible path here"]

    def test_of_a_recovery_is_no_value_even_where_it_is_a_stop_iteration(self) -> None:
        def broken(_: str) -> Eff[int, str, Work]:
            raise StopIteration(1)

        with pytest.raises(RuntimeError, match="StopIteration"):
            working().run(refuse("no").lash(broken))


class TestAnswer:
    def test_that_is_no_result_is_a_type_error(self) -> None:
        class Careless(Worker):
            async def say(self, word: str) -> Result[str, str]:
                return word  # type: ignore[return-value]  # what the test is about

        with pytest.raises(TypeError, match=r"the handler of <Perform Work.say> must answer with a Result.*'hello'"):
            Work.handled_by(Careless()).run(say("hello"))


class TestBlock:
    def test_that_yields_something_else_is_told(self) -> None:
        @do
        def wrong() -> Generator[Eff[object, Never, Never], object, int]:
            yield 5  # type: ignore[misc]  # what the test is about
            return 1

        with pytest.raises(TypeError, match="`yield from` was given 5, which is no computation"):
            Handlers.none().run(wrong())

    def test_that_is_no_generator_is_told(self) -> None:
        def plain() -> Do[Never, Never, int]:
            return 5  # type: ignore[return-value]  # what the test is about

        with pytest.raises(TypeError, match="a do-block is a generator function; this one returned 5"):
            Handlers.none().run(do(plain)())

    def test_never_runs_a_generator_that_was_begun(self) -> None:
        def body() -> Do[Never, Never, int]:
            return (yield from pure(1))

        generator = body()
        once = do(lambda: generator)()
        assert Handlers.none().run(once) == Success(1)
        with pytest.raises(TypeError, match="this one was begun before"):
            Handlers.none().run(once)


@pytest.mark.anyio
class TestCancellation:
    async def run(self, eff: Eff[object, str, Work], worker: Worker) -> Result[object, str | TimedOut]:
        return await Work.handled_by(worker).arun(timeout(eff, seconds=0.02))

    async def test_runs_finalizers_that_perform_effects_and_wait(self) -> None:
        worker = Worker(3)
        resting = perform(Work.rest, 0.02).bind(lambda _: say("rested"))
        assert await self.run(guarded(guarded(hang("a"), resting), say("outer")), worker) == Failure(
            TimedOut(seconds=0.02)
        )
        assert worker.log == ["a begins", "a is cancelled", "rest", "rested", "outer"]

    async def test_cannot_be_swallowed(self) -> None:
        @do
        def stubborn() -> Do[str, Work, None]:
            try:
                yield from hang("a")
            except BaseException:  # noqa: BLE001  # what the test is about
                yield from say("swallowed")

        @do
        def outer() -> Do[str, Work, None]:
            try:
                yield from stubborn()
                yield from say("went on")
            finally:
                yield from say("finalized")

        worker = Worker()
        assert await self.run(outer(), worker) == Failure(TimedOut(seconds=0.02))
        assert worker.log[2:] == ["swallowed", "finalized"]

    async def test_cannot_be_swallowed_by_a_return_either(self) -> None:
        @do
        def stubborn() -> Do[str, Work, int]:
            try:
                return (yield from hang("a"))
            except BaseException:  # noqa: BLE001  # what the test is about
                return 1

        assert await self.run(stubborn(), Worker()) == Failure(TimedOut(seconds=0.02))

    async def test_goes_before_the_failure_of_a_finalizer(self) -> None:
        worker = Worker()
        eff = attempt(guarded(guarded(hang("a"), refuse("no")), say("outer")).lash(lambda _: say("recovered")))
        assert await self.run(eff, worker) == Failure(TimedOut(seconds=0.02))
        assert worker.log[2:] == ["refuse no", "outer"]

    async def test_gives_way_to_a_defect_of_a_finalizer(self) -> None:
        with pytest.raises(CrashError, match="bang") as caught:
            await self.run(scoped("here", guarded(guarded(hang("a"), crash("bang")), say("outer"))), Worker())
        assert caught.value.__notes__ == ["in crucible path here"]

    async def test_takes_over_again_from_a_defect_that_was_caught(self) -> None:
        @do
        def tolerant() -> Do[str, Work, str]:
            try:
                yield from guarded(hang("a"), crash("bang"))
            except CrashError:
                return "swallowed both"
            return "answered"

        assert await self.run(tolerant(), Worker()) == Failure(TimedOut(seconds=0.02))

    async def test_reaches_a_defect_that_a_block_raises_itself(self) -> None:
        @do
        def broken() -> Do[str, Work, None]:
            try:
                yield from hang("a")
            finally:
                raise CrashError("in the finalizer")

        with pytest.raises(CrashError, match="in the finalizer"):
            await self.run(scoped("here", broken()), Worker())

    async def test_from_outside_of_the_run_runs_the_finalizers(self) -> None:
        worker = Worker()
        with anyio.move_on_after(0.02):
            await Work.handled_by(worker).arun(guarded(hang("a"), said("closed")))
            pytest.fail("the run went on")
        assert worker.log == ["a begins", "a is cancelled", "closed"]
