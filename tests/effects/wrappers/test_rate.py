"""`rate_limit` lets no more begin than the rate allows, in any window of time."""

import re

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Cost,
    Failure,
    Rate,
    Success,
    TimedOut,
    fold_stream,
    gather,
    perform,
    pure,
    rate_limit,
    timeout,
)
from tests.effects.fakes import Work, Worker, add

amounts = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 7)), max_size=30)


class TestRate:
    @given(amounts, st.integers(7, 15), st.integers(1, 60))
    def test_is_never_exceeded_in_any_window(self, calls: list[tuple[int, int]], most: int, seconds: int) -> None:
        rate, now, begun = Rate(most, per_seconds=seconds), 0, list[tuple[float, float]]()
        for later, amount in calls:
            now += later
            slot = rate.reserve(amount, now)
            assert slot.begin >= max([now, *(begin for begin, _ in begun)])
            begun.append((slot.begin, slot.amount))
        for end, _ in begun:
            assert sum(amount for begin, amount in begun if end - seconds < begin <= end) <= most

    @given(amounts, st.integers(7, 15), st.integers(1, 60))
    def test_makes_nobody_wait_for_longer_than_it_must(
        self, calls: list[tuple[int, int]], most: int, seconds: int
    ) -> None:
        rate, now, begun = Rate(most, per_seconds=seconds), 0, list[tuple[float, float]]()
        for later, amount in calls:
            now += later
            slot = rate.reserve(amount, now)
            earlier = slot.begin - 1  # all times are whole here
            if earlier >= max([now, *(begin for begin, _ in begun)]):
                used = sum(size for begin, size in begun if earlier - seconds < begin <= earlier)
                assert used + amount > most
            begun.append((slot.begin, slot.amount))

    def test_gives_back_what_was_not_used(self) -> None:
        rate = Rate(1, per_seconds=60)
        slot = rate.reserve(1, 0)
        rate.give_back(slot)
        rate.give_back(slot)
        assert rate.reserve(1, 0).begin == 0

    @pytest.mark.parametrize(("most", "seconds"), [(0, 1), (1, 0), (-1, 1), (float("nan"), 1)])
    def test_is_above_nothing(self, most: float, seconds: float) -> None:
        with pytest.raises(ValueError, match="a rate is above 0"):
            Rate(most, per_seconds=seconds)


@pytest.mark.anyio
class TestRateLimit:
    async def test_lets_calls_wait_side_by_side(self) -> None:
        worker = Worker()
        handlers = rate_limit(Work.handled_by(worker), Rate(2, per_seconds=0.02))
        start = anyio.current_time()
        assert await handlers.arun(gather([add(n, 0) for n in range(5)])) == Success(list(range(5)))
        assert anyio.current_time() - start >= 0.039
        assert sorted(worker.log) == [f"{n} + 0" for n in range(5)]

    async def test_counts_what_it_is_told_and_leaves_free_calls_alone(self) -> None:
        cost = Cost(unit="units", at_most=lambda call: None if call.operation is Work.say else 5)
        handlers = rate_limit(Work.handled_by(Worker()), Rate(10, per_seconds=1000, cost=cost))
        free = perform(Work.say, "a").map(len)
        assert await handlers.arun(gather([add(1, 1), add(1, 1), free, free])) == Success([2, 2, 1, 1])

    async def test_refuses_what_can_never_be_made(self) -> None:
        cost = Cost(unit="tokens", at_most=lambda call: 11)
        handlers = rate_limit(Work.handled_by(Worker()), Rate(10, per_seconds=60, cost=cost))
        with pytest.raises(ValueError, match=re.escape("a call of 11 tokens cannot be made at 10 in 60 s")):
            await handlers.arun(add(1, 1))

    async def test_whoever_is_cancelled_while_waiting_leaves_room_for_the_next(self) -> None:
        now = [0.0]
        rate = Rate(1, per_seconds=1000, clock=lambda: now[0])
        handlers = rate_limit(Work.handled_by(Worker()), rate)
        assert await handlers.arun(add(1, 1)) == Success(2)
        assert await handlers.arun(timeout(add(1, 1), seconds=0.01)) == Failure(TimedOut(seconds=0.01))
        now[0] = 1000
        assert await handlers.arun(timeout(add(1, 1), seconds=5)) == Success(2)

    async def test_holds_in_a_stream(self) -> None:
        eff = fold_stream(
            lambda _, index: add(index, 0) if index < 3 else pure(None),
            lambda total, _, item: add(total, item),
            0,
            buffer=2,
        )
        handlers = rate_limit(Work.handled_by(Worker()), Rate(3, per_seconds=0.01))
        assert await handlers.arun(eff) == Success(3)
