"""`circuit_breaker` leaves alone who fails, and tries again later."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Failure,
    Handlers,
    Result,
    Success,
    Unanswered,
    circuit_breaker,
    expecting,
    gather,
    perform,
    retry,
)
from crucible.train.errors import Unavailable, is_transient
from crucible.train.ports import EmbeddingClient
from tests.effects.fakes import Work, Worker, add, observe, refuse
from tests.effects.programs import Program, programs


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def breaking(worker: Worker, clock: Clock, failures: int = 2) -> Handlers[Work]:
    return circuit_breaker(
        Work.handled_by(worker), failures=failures, reset_seconds=10, when=lambda error: error == "busy", clock=clock
    )


tried = st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["busy", "forbidden", ""])), max_size=30)


class TestCircuitBreaker:
    @given(tried, st.integers(1, 3))
    def test_makes_a_call_unless_it_is_open(self, calls: list[tuple[int, str]], failures: int) -> None:
        worker, clock = Worker(), Clock()
        handlers = breaking(worker, clock, failures)
        in_a_row, open_until, made = 0, 0.0, 0
        for later, error in calls:
            clock.now += later
            result = handlers.run(expecting(refuse(error) if error else add(1, 1), Unanswered))
            if in_a_row >= failures and clock.now < open_until:
                stop = result.failure()
                assert isinstance(stop, Unanswered)
                assert stop.retry_after_seconds == open_until - clock.now
                continue
            made += 1
            assert result == (Failure(error) if error else Success(2))
            in_a_row = in_a_row + 1 if error == "busy" else 0
            open_until = clock.now + 10
        assert len(worker.log) == made

    @given(programs())
    def test_changes_nothing_where_nothing_counts_as_a_failure(self, eff: Program) -> None:
        worker = Worker()
        assert observe(eff, worker, breaking(worker, Clock(), 1)) == observe(eff)

    def test_needs_a_failure(self) -> None:
        with pytest.raises(ValueError, match="at least 1 failure, not 0"):
            breaking(Worker(), Clock(), 0)


@pytest.mark.anyio
async def test_a_port_that_is_tried_again_is_tried_by_one_call() -> None:
    worker, clock = Worker(3), Clock()
    handlers = breaking(worker, clock, 1)
    await handlers.arun(refuse("busy"))
    clock.now = 11
    outcome = expecting(add(1, 1), Unanswered).lash(lambda _: refuse("open").lash(lambda why: add(0, 0)))
    assert worker.log == ["refuse busy"]
    both = await handlers.arun(gather([add(1, 1), expecting(add(2, 2), Unanswered).map(lambda _: -1)]).alt(str))
    assert both.failure().startswith("Work.add at gather/[1]/#1 was not made")
    assert await handlers.arun(outcome) == Success(2)


@pytest.mark.anyio
async def test_a_trial_that_is_cancelled_leaves_it_to_the_next() -> None:
    worker, clock = Worker(), Clock()
    handlers = breaking(worker, clock, 1)
    await handlers.arun(refuse("busy"))
    clock.now = 11
    with anyio.move_on_after(0.01):
        await handlers.arun(perform(Work.hang, "a"))
    assert await handlers.arun(add(1, 1)) == Success(2)


def test_answers_with_the_error_of_the_port_and_asks_retry_to_wait() -> None:
    class Down(EmbeddingClient):
        asked = 0

        async def embed_texts(self, texts: object) -> Result[tuple[()], Unavailable]:
            self.asked += 1
            return Failure(Unavailable(message="503"))

    down, waits = Down(), list[object]()
    handlers = circuit_breaker(EmbeddingClient.handled_by(down), failures=2, reset_seconds=60, when=is_transient)

    def wait(_: int, error: object) -> float:
        waits.append(error)
        return 0

    result = retry(handlers, attempts=4, when=is_transient, wait_seconds=wait).run(
        perform(EmbeddingClient.embed_texts, ["a"])
    )
    assert "EmbeddingClient failed 2 times in a row" in str(result.failure())
    assert down.asked == 2
    assert 50 < (result.failure().retry_after_seconds or 0) <= 60  # type: ignore[union-attr]  # it is Unavailable
    assert len(waits) == 3
