"""`hedge` asks a second time where the first answer is slow, and never more than it may."""

import math
import time
from collections.abc import Callable
from random import Random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Eff,
    Failure,
    Handlers,
    Hedging,
    Journal,
    Result,
    SlowerThan,
    Success,
    TimedOut,
    TracedCall,
    attempt,
    gather,
    hedge,
    perform,
    record,
    replay,
    timeout,
    trace,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, observe, refuse

ASKED: list[Callable[..., object]] = [Work.add, Work.crash, Work.hang, Work.refuse, Work.rest, Work.say]


class Slow(Work):
    """Takes a planned time for each `add`, and then does what is planned; writes down what begins and ends."""

    def __init__(self, *plan: tuple[float, Result[int, str] | Exception]) -> None:
        self.log: list[str] = []
        self._plan = plan
        self._begun = 0

    async def add(self, a: int, b: int = 1) -> Result[int, str]:
        name, (seconds, outcome) = f"{self._begun}", self._plan[self._begun]
        self._begun += 1
        self.log.append(f"{name} begins")
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.005)
            self.log.append(f"{name} is cancelled")
            raise
        if isinstance(outcome, Exception):
            raise outcome
        self.log.append(f"{name} ends")
        return outcome

    async def say(self, word: str) -> Result[str, str]:
        return Success(word)

    refuse = crash = rest = hang = pay = None  # type: ignore[assignment]  # not asked here


FOREVER = 60.0


def hedged(work: Work, *, after_seconds: float = 0.01, most_share: float = 9, max_hedges: int = 1) -> Handlers[Work]:
    policy = Hedging(after_seconds=after_seconds, most_share=most_share, max_hedges=max_hedges)
    return hedge(Work.handled_by(work), policy, operations=[Work.add])


@pytest.mark.anyio
class TestARace:
    async def test_is_won_by_the_first_when_it_is_quick(self) -> None:
        work = Slow((0.0, Success(1)))
        assert await hedged(work, after_seconds=FOREVER).arun(add(1, 2)) == Success(1)
        assert work.log == ["0 begins", "0 ends"]

    async def test_is_won_by_the_second_when_the_first_hangs_which_has_ended_by_then(self) -> None:
        work = Slow((FOREVER, Success(1)), (0.0, Success(2)))
        assert await hedged(work).arun(add(1, 2)) == Success(2)
        assert work.log == ["0 begins", "1 begins", "1 ends", "0 is cancelled"]

    async def test_is_won_by_the_first_when_the_second_is_slower_still(self) -> None:
        work = Slow((0.05, Success(1)), (FOREVER, Success(2)))
        assert await hedged(work).arun(add(1, 2)) == Success(1)
        assert work.log == ["0 begins", "1 begins", "0 ends", "1 is cancelled"]

    async def test_goes_on_to_a_third_where_that_is_allowed(self) -> None:
        work = Slow((FOREVER, Success(1)), (FOREVER, Success(2)), (0.0, Success(3)))
        assert await hedged(work, max_hedges=2).arun(add(1, 2)) == Success(3)
        assert sorted(work.log[-2:]) == ["0 is cancelled", "1 is cancelled"]

    async def test_answers_a_failure_at_once_when_nothing_else_is_being_made(self) -> None:
        work = Slow((0.0, Failure("no")))
        assert await hedged(work, after_seconds=FOREVER).arun(add(1, 2)) == Failure("no")
        assert work.log == ["0 begins", "0 ends"]

    async def test_lets_a_failure_wait_for_the_others(self) -> None:
        first_fails = Slow((0.03, Failure("no")), (0.05, Success(2)))
        assert await hedged(first_fails).arun(add(1, 2)) == Success(2)
        second_fails = Slow((0.05, Success(1)), (0.0, Failure("no")))
        assert await hedged(second_fails).arun(add(1, 2)) == Success(1)

    async def test_gives_the_failure_of_the_first_when_all_fail(self) -> None:
        work = Slow((0.05, Failure("first")), (0.0, Failure("second")))
        assert await hedged(work).arun(add(1, 2)) == Failure("first")

    @pytest.mark.parametrize("crashing", [0, 1])
    async def test_raises_what_any_of_them_raises_and_stops_the_others(self, crashing: int) -> None:
        plan: list[tuple[float, Result[int, str] | Exception]] = [(FOREVER, Success(1)), (FOREVER, Success(2))]
        plan[crashing] = (0.03, CrashError("bang"))
        work = Slow(*plan)
        with pytest.raises(CrashError, match="bang"):
            await hedged(work).arun(add(1, 2))
        assert work.log[-1] == f"{1 - crashing} is cancelled"

    async def test_is_cancelled_as_a_whole(self) -> None:
        work = Slow((FOREVER, Success(1)), (FOREVER, Success(2)))
        result = await hedged(work).arun(timeout(add(1, 2), seconds=0.05))
        assert result == Failure(TimedOut(seconds=0.05))
        assert work.log[:2] == ["0 begins", "1 begins"]
        assert sorted(work.log[2:]) == ["0 is cancelled", "1 is cancelled"]

    async def test_waits_longer_each_time_where_that_is_asked(self) -> None:
        calls: list[TracedCall] = []
        work = trace(Work.handled_by(Slow(*[(FOREVER, Success(0))] * 3)), into=calls.append)
        policy = Hedging(after_seconds=0.02, growth=4, most_share=9, max_hedges=2)
        await hedge(work, policy, operations=[Work.add]).arun(timeout(add(1, 2), seconds=0.25))
        first, second, third = sorted((call.seconds for call in calls), reverse=True)
        assert first - second < second - third

    async def test_asks_others_where_there_are_some(self) -> None:
        slow, two, three = Slow((FOREVER, Success(1))), Slow((FOREVER, Success(2))), Slow((0.0, Success(3)))
        policy = Hedging(after_seconds=0.01, most_share=9, max_hedges=2)
        others = [Work.handled_by(two), Work.handled_by(three)]
        handlers = hedge(Work.handled_by(slow), policy, operations=[Work.add], others=others)
        assert await handlers.arun(add(1, 2)) == Success(3)
        assert [work.log[-1] for work in (slow, two, three)] == ["0 is cancelled", "0 is cancelled", "0 ends"]

    async def test_is_not_begun_for_other_operations(self) -> None:
        work = Worker()
        handlers = hedged(work, after_seconds=0.001)
        assert await handlers.arun(perform(Work.rest, 0.02)) == Success(0)
        assert work.log == ["rest"]

    async def test_is_not_begun_where_the_delay_is_none(self) -> None:
        work = Slow((0.02, Success(1)))
        handlers = hedge(Work.handled_by(work), Hedging(after_seconds=lambda call: None), operations=[Work.add])
        assert await handlers.arun(add(1, 2)) == Success(1)
        assert work.log == ["0 begins", "0 ends"]


@pytest.mark.anyio
class TestAJournal:
    async def test_outside_of_it_holds_one_call_and_replays_the_answer(self) -> None:
        journal = Journal()
        work = Slow((FOREVER, Success(1)), (0.0, Success(2)))
        assert await record(hedged(work), journal).arun(add(1, 2)) == Success(2)
        assert len(list(journal)) == 1
        assert await replay(journal).arun(add(1, 2)) == Success(2)

    async def test_of_calls_inside_of_it_shows_both(self) -> None:
        calls: list[TracedCall] = []
        work = trace(Work.handled_by(Slow((FOREVER, Success(1)), (0.0, Success(2)))), into=calls.append)
        await hedge(work, Hedging(after_seconds=0.01, most_share=1), operations=[Work.add]).arun(add(1, 2))
        assert [call.result for call in calls] == [Success(2), None]


class TestTheShare:
    @given(st.lists(st.booleans(), min_size=1, max_size=80), st.sampled_from([0.0, 0.05, 0.1, 1 / 3, 0.5, 1.0]))
    def test_is_never_exceeded(self, slow: list[bool], share: float) -> None:
        begun, calls = 0, 0

        class Counting(Worker):
            async def rest(self, seconds: float) -> Result[int, str]:
                nonlocal begun
                begun += 1
                assert begun - calls <= share * calls + 1e-6
                if seconds:
                    await anyio.lowlevel.checkpoint()
                    await anyio.sleep(0.002)
                return Success(0)

        policy = Hedging(after_seconds=0, most_share=share, max_hedges=2)
        handlers = hedge(Work.handled_by(Counting()), policy, operations=[Work.rest])
        for is_slow in slow:
            calls += 1
            assert handlers.run(perform(Work.rest, 1.0 if is_slow else 0.0)) == Success(0)
        if share == 1.0 and all(slow):
            assert begun > calls

    def test_saves_up_ten_hedges_and_no_more(self) -> None:
        work, quick = Slow(*[(0.0, Success(0))] * 100, *[(0.03, Success(0))] * 40), True
        policy = Hedging(after_seconds=lambda call: None if quick else 0.002, most_share=0.2)
        handlers = hedge(Work.handled_by(work), policy, operations=[Work.add])
        for _ in range(100):
            handlers.run(add(1, 2))
        quick = False
        for _ in range(15):
            handlers.run(add(1, 2))
        assert sum(line.endswith("begins") for line in work.log) == 115 + 10 + 2  # what 14 further calls earned

    def test_may_be_without_limit(self) -> None:
        work = Slow(*[(0.02, Success(0))] * 40)
        handlers = hedged(work, after_seconds=0.005, most_share=math.inf)
        for _ in range(20):
            handlers.run(add(1, 2))
        assert sum(line.endswith("begins") for line in work.log) == 40

    def test_is_not_used_by_what_must_not_be_made_twice(self) -> None:
        with pytest.raises(ValueError, match=r"Work.pay is not repeatable"):
            hedge(Work.handled_by(Worker()), Hedging(after_seconds=1), operations=[Work.pay])

    def test_is_for_operations(self) -> None:
        with pytest.raises(TypeError, match="is not an operation of a port"):
            hedge(Work.handled_by(Worker()), Hedging(after_seconds=1), operations=[print])

    @pytest.mark.parametrize(
        ("field", "value"), [("after_seconds", -1), ("most_share", -0.1), ("max_hedges", 0), ("growth", 0)]
    )
    def test_and_the_rest_of_a_policy_are_checked_when_it_is_made(self, field: str, value: float) -> None:
        with pytest.raises(ValueError, match=f"{field}|0 seconds or more"):
            Hedging(**{"after_seconds": 1.0, field: value})  # type: ignore[arg-type]  # wrong on purpose


calls = st.one_of(
    st.builds(add, st.integers(0, 9), st.integers(0, 9)),
    st.builds(refuse, st.sampled_from("ab")),
    st.builds(crash, st.sampled_from("ab")),
    st.builds(lambda amount: perform(Work.pay, amount), st.integers(0, 9)),
)


@given(st.lists(calls, max_size=6))
def test_changes_nothing_where_answers_are_quick(made: list[Eff[int, str, Work]]) -> None:
    worker = Worker()
    handlers = hedge(Work.handled_by(worker), Hedging(after_seconds=FOREVER), operations=ASKED)
    eff = gather([attempt(each) for each in made], limit=1)
    assert observe(eff, worker, handlers) == observe(eff)


def test_a_refusal_is_answered_as_it_is() -> None:
    handlers = hedge(Work.handled_by(Worker()), Hedging(after_seconds=0), operations=ASKED)
    assert handlers.run(refuse("no")) == Failure("no")


class TestSlowerThan:
    @given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(1, 99), st.integers(1, 30))
    def test_is_the_nearest_rank_of_the_last_durations(
        self, durations: list[float], percentile: float, window: int
    ) -> None:
        calls: list[TracedCall] = []
        trace(Work.handled_by(Worker()), into=calls.append).run(add(1, 2))
        slow = SlowerThan(percentile, warm_up=1, window=window)
        for seconds in durations:
            slow.add(calls[0].call, seconds)
        latest = sorted(durations[-window:])
        delay = slow(calls[0].call)
        assert delay in latest
        assert sum(each <= delay for each in latest) >= percentile / 100 * len(latest)
        assert sum(each < delay for each in latest) < percentile / 100 * len(latest)

    def test_keeps_operations_apart_and_waits_until_it_knows_enough(self) -> None:
        calls: list[TracedCall] = []
        trace(Work.handled_by(Worker()), into=calls.append).run(
            gather([add(1, 2), refuse("no").lash(lambda _: add(1, 1))])
        )
        summed, refused = calls[0].call, calls[1].call
        slow = SlowerThan(warm_up=2)
        slow.add(summed, 1.0)
        assert slow(summed) is None
        slow.add(summed, 2.0)
        assert (slow(summed), slow(refused)) == (2.0, None)

    @pytest.mark.parametrize("percentile", [0, 100, float("nan")])
    def test_needs_a_percentile(self, percentile: float) -> None:
        with pytest.raises(ValueError, match="above 0 and below 100"):
            SlowerThan(percentile)

    @pytest.mark.parametrize("warm_up", [0, 11])
    def test_needs_a_warm_up_that_its_window_holds(self, warm_up: int) -> None:
        with pytest.raises(ValueError, match="at least 1 call and at most the 10 of the window"):
            SlowerThan(warm_up=warm_up, window=10)


class Service(Worker):
    """Answers in a moment, and once in a while in half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self._draws = Random(0)

    async def say(self, word: str) -> Result[str, str]:
        self.asked += 1
        await anyio.sleep(0.5 if self._draws.random() < 0.04 else 0.004)
        return Success(word)


def timed(handlers: Handlers[Work], asks: int) -> list[float]:
    """Tell how long each of so many calls took, sorted."""
    calls: list[TracedCall] = []
    each: Eff[str, str, Work] = perform(Work.say, "a")
    trace(handlers, into=calls.append).run(gather([each] * asks, limit=4))
    return sorted(call.seconds for call in calls)


def test_the_slowest_calls_get_quicker_and_few_are_made_twice() -> None:
    plain, service = timed(Work.handled_by(Service()), 200), Service()
    policy = Hedging(after_seconds=SlowerThan(90), most_share=0.1)
    handlers = hedge(Work.handled_by(service), policy, operations=[Work.say])
    began = time.monotonic()
    hedged_calls = timed(handlers, 200)
    assert time.monotonic() - began < 60
    assert plain[-5] >= 0.5
    assert hedged_calls[-5] < 0.4
    assert 200 < service.asked <= 220
