"""Handlers on top of handlers: tracing and repeating."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Diverged,
    Eff,
    Failure,
    Handlers,
    Journal,
    Result,
    Success,
    TracedCall,
    attempt,
    bracket,
    gather,
    perform,
    record,
    replay,
    retry,
    scoped,
    trace,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, observe, refuse
from tests.effects.programs import Program, programs


class TestTrace:
    def test_shows_what_was_called_where_and_what_came_of_it(self) -> None:
        calls: list[TracedCall] = []
        handlers = trace(Work.handled_by(Worker()), into=calls.append)
        handlers.run(scoped("a", add(1, 2)).bind(lambda _: refuse("no")))
        assert [(str(each.call), each.result) for each in calls] == [
            ("Work.add at a/#1", Success(3)),
            ("Work.refuse at #1", Failure("no")),
        ]
        assert calls[0].call.arguments == (1, 2)

    def test_shows_a_call_that_raised_without_a_result(self) -> None:
        calls: list[TracedCall] = []
        with pytest.raises(CrashError):
            trace(Work.handled_by(Worker()), into=calls.append).run(crash("bang"))
        assert [(each.call.name, each.result) for each in calls] == [("Work.crash", None)]

    def test_measures_how_long_it_took(self) -> None:
        calls: list[TracedCall] = []
        trace(Work.handled_by(Worker()), into=calls.append).run(perform(Work.rest, 0.02))
        assert 0.015 < calls[0].seconds < 10

    @given(programs())
    def test_changes_nothing(self, eff: Program) -> None:
        worker, calls = Worker(), list[TracedCall]()
        assert observe(eff, worker, trace(Work.handled_by(worker), into=calls.append)) == observe(eff)
        assert len(calls) == len(worker.log)


class Flaky(Worker):
    """Fails a number of times, then works."""

    def __init__(self, failures: int, error: str = "busy") -> None:
        super().__init__()
        self._left = failures
        self._error = error

    async def add(self, a: int, b: int = 1) -> Result[int, str]:
        self.log.append("add")
        return self._answer(a + b)

    async def pay(self, amount: int) -> Result[int, str]:
        self.log.append("pay")
        return self._answer(amount)

    def _answer(self, value: int) -> Result[int, str]:
        self._left -= 1
        return Failure(self._error) if self._left >= 0 else Success(value)


def retrying(worker: Worker, *, attempts: int = 3) -> Handlers[Work]:
    return retry(
        Work.handled_by(worker), attempts=attempts, when=lambda error: error == "busy", wait_seconds=lambda _: 0
    )


class TestRetry:
    @given(st.integers(0, 5), st.integers(1, 5))
    def test_makes_a_call_until_it_succeeds_or_its_attempts_are_used_up(self, failures: int, attempts: int) -> None:
        worker = Flaky(failures)
        result = retrying(worker, attempts=attempts).run(add(1, 2))
        assert result == (Success(3) if failures < attempts else Failure("busy"))
        assert len(worker.log) == min(failures + 1, attempts)

    def test_leaves_an_error_that_will_stay_alone(self) -> None:
        worker = Flaky(1, error="forbidden")
        assert retrying(worker).run(add(1, 2)) == Failure("forbidden")
        assert worker.log == ["add"]

    def test_stops_at_an_error_that_will_stay(self) -> None:
        class Worsening(Worker):
            async def refuse(self, why: str) -> Result[int, str]:
                self.log.append(why)
                return Failure("busy" if len(self.log) == 1 else "forbidden")

        worker = Worsening()
        assert retrying(worker, attempts=9).run(refuse("no")) == Failure("forbidden")
        assert len(worker.log) == 2

    def test_never_repeats_what_must_not_be_repeated(self) -> None:
        worker = Flaky(1)
        assert retrying(worker).run(perform(Work.pay, 5)) == Failure("busy")
        assert worker.log == ["pay"]

    def test_does_not_repeat_a_defect(self) -> None:
        worker = Worker()
        with pytest.raises(CrashError):
            retrying(worker).run(crash("bang"))
        assert worker.log == ["crash bang"]

    def test_waits_longer_each_time(self) -> None:
        waits: list[int] = []

        def wait(attempt: int) -> float:
            waits.append(attempt)
            return 0

        retry(Work.handled_by(Flaky(9)), attempts=4, when=bool, wait_seconds=wait).run(add(1, 2))
        assert waits == [0, 1, 2]

    def test_waits_half_a_second_by_default_and_lets_others_work_meanwhile(self) -> None:
        calls: list[TracedCall] = []
        handlers = trace(retry(Work.handled_by(Flaky(1)), attempts=2, when=bool), into=calls.append)
        assert handlers.run(gather([add(1, 2), add(3, 4)])) == Success([3, 7])
        assert calls[0].seconds < 0.4 < calls[1].seconds

    @pytest.mark.parametrize("attempts", [0, -1])
    def test_needs_an_attempt(self, attempts: int) -> None:
        with pytest.raises(ValueError, match=f"at least 1 attempt, not {attempts}"):
            retry(Handlers.none(), attempts=attempts, when=bool)


def held(number: int) -> Eff[int, str, Work]:
    """Something acquired, used, and released by one more call."""
    return bracket(add(1, 1), lambda made: add(made, number), lambda made: attempt(add(made, number)))


def test_of_several_calls_that_diverge_on_the_way_out_the_first_is_named() -> None:
    journal = Journal()
    record(Work.handled_by(Worker()), journal).run(held(1))
    with pytest.raises(Diverged, match="recording at #2"):
        replay(journal).run(held(2))
