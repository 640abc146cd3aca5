"""`retry` makes a call again, where that is allowed and of use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Failure,
    Handlers,
    Result,
    Success,
    TracedCall,
    backoff,
    gather,
    perform,
    retry,
    trace,
)
from tests.effects.fakes import CrashError, Work, Worker, add, crash, refuse


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
        Work.handled_by(worker), attempts=attempts, when=lambda error: error == "busy", wait_seconds=lambda *_: 0
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

        def wait(attempt: int, _: object) -> float:
            waits.append(attempt)
            return 0

        retry(Work.handled_by(Flaky(9)), attempts=4, when=bool, wait_seconds=wait).run(add(1, 2))
        assert waits == [0, 1, 2]

    def test_waits_by_default_and_lets_others_work_meanwhile(self) -> None:
        calls: list[TracedCall] = []
        handlers = trace(retry(Work.handled_by(Flaky(1)), attempts=2, when=bool), into=calls.append)
        assert handlers.run(gather([add(1, 2), add(3, 4)])) == Success([3, 7])
        assert [each.call.arguments for each in calls] == [(3, 4), (1, 2)]
        assert calls[1].seconds >= 0.25

    @pytest.mark.parametrize("attempts", [0, -1])
    def test_needs_an_attempt(self, attempts: int) -> None:
        with pytest.raises(ValueError, match=f"at least 1 attempt, not {attempts}"):
            retry(Handlers.none(), attempts=attempts, when=bool)


class Asking:
    """An error that says when to come back."""

    retry_after_seconds = 7.0


class TestBackoff:
    @given(st.integers(0, 10_000), st.floats(0.001, 10), st.floats(0.001, 100), st.integers(0, 2**32))
    def test_doubles_up_to_the_most_and_is_never_less_than_half(
        self, attempt: int, first: float, most: float, seed: int
    ) -> None:
        whole = min(most, first * 2.0 ** min(attempt, 60))
        assert whole / 2 <= backoff(first_seconds=first, most_seconds=most, seed=seed)(attempt, "busy") <= whole

    def test_differs_from_one_caller_to_another_but_not_for_one_seed(self) -> None:
        def waits(seed: int) -> list[float]:
            waiting = backoff(seed=seed)
            return [waiting(n, "busy") for n in range(5)]

        assert waits(1) == waits(1) != waits(2)

    def test_waits_as_long_as_the_error_asks_for(self) -> None:
        assert backoff()(0, Asking()) == 7.0
