"""`fold_stream`: a producer and a consumer side by side."""

from collections.abc import Callable

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Eff,
    Failure,
    Journal,
    Located,
    Path,
    Result,
    Success,
    TimedOut,
    bracket,
    current_path,
    fold_stream,
    located,
    perform,
    pure,
    record,
    replay,
    timeout,
)
from tests.effects.fakes import CrashError, Work, Worker, crash, hang, refuse, said, say, working

LIMIT = 0.02
NONE: tuple[int, ...] = ()


class Ledger(Worker):
    """Gives way to others in each call, and knows how far the producer was ahead at most."""

    def __init__(self, making: int, using: int) -> None:
        super().__init__()
        self._pauses = {"make": making, "use": using}
        self._made = self._used = 0
        self.most_ahead = 0

    async def say(self, word: str) -> Result[str, str]:
        self.log.append(word)
        kind = word.partition(" ")[0]
        for _ in range(self._pauses[kind]):
            await checkpoint()
        self._made += kind == "make"
        self._used += kind == "use"
        self.most_ahead = max(self.most_ahead, self._made - (self._used + 1))  # one is in the consumer's hands
        return Success(word)


def make(end: int) -> Callable[[object, int], Eff[int | None, str, Work]]:
    """Produce 0, 1, ... and end before `end`."""

    def produce(_: object, index: int) -> Eff[int | None, str, Work]:
        return pure(None) if index == end else say(f"make {index}").map(lambda _: index)

    return produce


def collect(seen: tuple[int, ...], index: int, item: int) -> Eff[tuple[int, ...], str, Work]:
    """Add the item to what was seen."""
    return say(f"use {index}").map(lambda _: (*seen, item))


pauses = st.integers(0, 4)


class TestItems:
    @given(st.integers(0, 8), st.integers(1, 4), pauses, pauses)
    def test_come_in_order_and_never_more_than_the_buffer_ahead(
        self, end: int, buffer: int, making: int, using: int
    ) -> None:
        ledger = Ledger(making, using)
        result = Work.handled_by(ledger).run(fold_stream(make(end), collect, NONE, buffer=buffer))
        assert result == Success(tuple(range(end)))
        assert ledger.most_ahead <= buffer

    @pytest.mark.parametrize("buffer", [1, 3])
    def test_are_made_as_far_ahead_as_the_buffer_allows(self, buffer: int) -> None:
        ledger = Ledger(0, 50)
        Work.handled_by(ledger).run(fold_stream(make(9), collect, NONE, buffer=buffer))
        assert ledger.most_ahead == buffer

    def test_are_made_while_others_are_used(self) -> None:
        ledger = Ledger(5, 5)
        Work.handled_by(ledger).run(fold_stream(make(3), collect, NONE, buffer=1))
        assert ledger.log.index("make 1") < ledger.log.index("use 1")
        assert ledger.log.index("use 0") < ledger.log.index("make 2")

    @given(st.integers(0, 9), st.integers(1, 4), st.integers(1, 4), pauses, pauses)
    def test_wait_to_be_begun_until_they_may(self, end: int, buffer: int, every: int, making: int, using: int) -> None:
        begun: dict[int, int] = {}

        def produce(seen: tuple[int, ...], index: int) -> Eff[int | None, str, Work]:
            begun[index] = len(seen)
            return make(end)(seen, index)

        def not_past_a_barrier(seen: tuple[int, ...], index: int) -> bool:
            return len(seen) // every == index // every

        work = fold_stream(produce, collect, NONE, buffer=buffer, ready=not_past_a_barrier)
        journal = Journal()
        assert record(Work.handled_by(Ledger(making, using)), journal).run(work) == Success(tuple(range(end)))
        assert all(seen >= index // every * every for index, seen in begun.items())
        assert replay(journal).run(work) == Success(tuple(range(end)))

    def test_none_ends_the_stream_at_once(self) -> None:
        assert working().run(fold_stream(make(0), collect, NONE, buffer=1)) == Success(NONE)

    def test_can_be_folded_again(self) -> None:
        eff = fold_stream(make(3), collect, NONE, buffer=2)
        assert working().run(eff) == working().run(eff) == Success((0, 1, 2))

    def test_need_a_buffer(self) -> None:
        with pytest.raises(ValueError, match="a buffer of at least 1 item, not 0"):
            _ = fold_stream(make(1), collect, NONE, buffer=0)


def test_the_producer_sees_the_newest_value() -> None:
    seen: list[int] = []

    def produce(latest: int, index: int) -> Eff[int | None, str, Work]:
        seen.append(latest)
        return perform(Work.rest, 0.005).map(lambda _: None if index == 4 else 1)

    def consume(latest: int, index: int, item: int) -> Eff[int, str, Work]:
        return pure(latest + item)

    assert working().run(fold_stream(produce, consume, 0, buffer=1)) == Success(4)
    assert seen in ([0, 0, 1, 2, 3], [0, 1, 2, 3, 4])  # item 0 may still be on its way when item 1 begins


@pytest.mark.anyio
class TestTrouble:
    async def test_of_the_consumer_stops_the_producer_and_waits_for_its_finalizers(self) -> None:
        def produce(_: object, index: int) -> Eff[int | None, str, Work]:
            hanging: Eff[int, str, Work] = bracket(pure(1), lambda _: hang("make"), lambda _: said("close"))
            return pure(1) if index == 0 else hanging

        worker = Worker(3)
        slowly = perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))
        assert await Work.handled_by(worker).arun(fold_stream(produce, lambda *_: slowly, 0, buffer=1)) == Failure("no")
        assert worker.log[-2:] == ["make is cancelled", "close"]

    async def test_of_the_consumer_stops_a_producer_that_waits_for_room(self) -> None:
        def produce(_: object, index: int) -> Eff[int | None, str, Work]:
            return say(f"make {index}").map(lambda _: index)

        worker = Worker()
        slowly = perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))
        assert await Work.handled_by(worker).arun(fold_stream(produce, lambda *_: slowly, 0, buffer=2)) == Failure("no")
        assert worker.log[-1] == "refuse no"
        assert set(worker.log) == {"make 0", "make 1", "make 2", "rest", "refuse no"}

    async def test_of_the_producer_stops_the_consumer_and_waits_for_its_finalizers(self) -> None:
        def produce(_: object, index: int) -> Eff[int | None, str, Work]:
            return pure(1) if index == 0 else perform(Work.rest, LIMIT).bind(lambda _: refuse("no"))

        def consume(latest: int, index: int, item: int) -> Eff[int, str, Work]:
            return bracket(pure(1), lambda _: hang("use"), lambda _: said("close"))

        worker = Worker(3)
        assert await Work.handled_by(worker).arun(fold_stream(produce, consume, 0, buffer=1)) == Failure("no")
        assert worker.log[-2:] == ["use is cancelled", "close"]

    @pytest.mark.parametrize("eff", [crash("bang"), pure(1).map(lambda _: 1 // 0)])
    async def test_that_is_a_defect_is_raised_as_itself_with_its_path(self, eff: Eff[int, str, Work]) -> None:
        with pytest.raises((CrashError, ZeroDivisionError)) as caught:
            await working().arun(fold_stream(make(3), lambda *_: eff, 0, buffer=1))
        assert caught.value.__notes__ == ["in crucible path stream/[0]"]

    async def test_in_the_functions_themselves_is_a_defect_with_its_path(self) -> None:
        def produce(_: object, index: int) -> Eff[int | None, str, Work]:
            raise CrashError("bang")

        with pytest.raises(CrashError) as caught:
            await working().arun(fold_stream(produce, collect, NONE, buffer=1))
        assert caught.value.__notes__ == ["in crucible path stream/produce[0]"]

    async def test_is_located(self) -> None:
        eff = located(fold_stream(make(3), lambda *_: refuse("no"), 0, buffer=1))
        assert await working().arun(eff) == Failure(Located(path=("stream", "[0]"), error="no"))

    async def test_of_time_stops_both(self) -> None:
        def consume(latest: int, index: int, item: int) -> Eff[int, str, Work]:
            return bracket(pure(1), lambda _: hang("use"), lambda _: said("close"))

        worker = Worker()
        eff = timeout(fold_stream(make(9), consume, 0, buffer=1), seconds=LIMIT)
        assert await Work.handled_by(worker).arun(eff) == Failure(TimedOut(seconds=LIMIT))
        assert worker.log[-2:] == ["use is cancelled", "close"]


def test_paths_are_those_of_the_items() -> None:
    def produce(paths: list[Path], index: int) -> Eff[Path | None, str, Work]:
        return pure(None) if index == 2 else current_path()

    def consume(paths: list[Path], index: int, item: Path) -> Eff[list[Path], str, Work]:
        return current_path().map(lambda path: [*paths, item, path])

    nothing: list[Path] = []
    assert working().run(fold_stream(produce, consume, nothing, buffer=1)).unwrap() == [
        ("stream", "produce[0]"),
        ("stream", "[0]"),
        ("stream", "produce[1]"),
        ("stream", "[1]"),
    ]
