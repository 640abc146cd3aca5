"""`spend` stops a run before it costs more than it may."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Budget,
    Cost,
    Failure,
    OverBudget,
    Result,
    Success,
    attempt,
    each_call,
    expecting,
    fold,
    fold_stream,
    gather,
    perform,
    pure,
    spend,
    timeout,
    working_seconds,
)
from tests.effects.fakes import CrashError, Work, Worker, add, guarded, hang, observe, said
from tests.effects.programs import Program, programs

by_size = Cost(unit="units", at_most=lambda call: float(sum(abs(n) for n in call.arguments if isinstance(n, int))))
halved = Cost(unit="units", at_most=by_size.at_most, spent=lambda call, result, _: (by_size.at_most(call) or 0) / 2)


class TestSpend:
    @given(programs(), st.integers(0, 40), st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def test_is_never_exceeded(self, eff: Program, limit: int, steps: list[int]) -> None:
        worker, budget = Worker(*steps), Budget(limit, by_size)
        handlers = spend(Work.handled_by(worker), budget)
        with suppress(OverBudget, CrashError):
            handlers.run(eff)
        done = [line.split(" + ") for line in worker.log if " + " in line]
        assert sum(abs(int(a)) + abs(int(b)) for a, b in done) == budget.spent <= limit
        assert budget.left == limit - budget.spent

    @given(programs())
    def test_changes_nothing_while_it_suffices(self, eff: Program) -> None:
        worker = Worker()
        assert observe(eff, worker, spend(Work.handled_by(worker), Budget(10_000, each_call))) == observe(eff)

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 30), st.booleans())
    def test_stops_at_the_first_call_that_could_be_too_much(self, sizes: list[int], limit: int, at_once: bool) -> None:
        budget = Budget(limit, halved)
        worker = Worker()
        handlers = spend(Work.handled_by(worker), budget)
        afforded, left = 0, float(limit)
        for size in sizes:
            if size > left:
                break
            afforded, left = afforded + 1, left - size / 2
        eff = gather([add(size, 0) for size in sizes], limit=1 if at_once else None)
        result = handlers.run(expecting(eff, OverBudget))
        assert len(worker.log) == afforded
        assert budget.left == left
        assert isinstance(result, Success) == (afforded == len(sizes))

    def test_is_no_failure_that_the_program_could_take_for_its_own(self) -> None:
        handlers = spend(Work.handled_by(Worker()), Budget(0, each_call))
        result = handlers.run(expecting(attempt(add(1, 2)).map(str), OverBudget))
        expected = "Work.add at #1 could cost 1 calls, and 0 of 0 calls are left: raise the limit of the budget, or ask for less"
        assert fold(result, str, str) == expected
        with pytest.raises(OverBudget):
            handlers.run(attempt(add(1, 2)))

    def test_lets_finalizers_do_what_is_free(self) -> None:
        worker = Worker()
        cost = Cost(unit="calls", at_most=lambda call: None if call.operation is Work.say else 1)
        handlers = spend(Work.handled_by(worker), Budget(1, cost))
        eff = guarded(add(1, 1).bind(lambda _: add(2, 2)), said("released"))
        assert isinstance(handlers.run(expecting(eff, OverBudget)).failure(), OverBudget)
        assert worker.log == ["1 + 1", "released"]

    def test_refuses_a_limit_that_is_none(self) -> None:
        with pytest.raises(ValueError, match="a budget is at least 0 calls, not -1"):
            Budget(-1, each_call)

    def test_is_shared_by_whoever_is_given_it(self) -> None:
        budget = Budget(2, each_call)
        one, other = (spend(Work.handled_by(Worker()), budget) for _ in range(2))
        assert one.run(add(1, 1)) == other.run(add(1, 1)) == Success(2)
        assert isinstance(one.run(expecting(add(1, 1), OverBudget)).failure(), OverBudget)
        assert repr(budget) == "<Budget: 2 of 2 calls spent>"


@pytest.mark.anyio
class TestASpendingRun:
    async def test_counts_a_call_that_was_cancelled_as_the_most_it_could_cost(self) -> None:
        budget = Budget(9, Cost(unit="units", at_most=lambda call: 4))
        handlers = spend(Work.handled_by(Worker()), budget)
        await handlers.arun(timeout(hang("a"), seconds=0.01))
        assert (budget.spent, budget.left) == (4, 5)

    async def test_sets_aside_what_calls_at_the_same_time_can_cost(self) -> None:
        budget = Budget(7, Cost(unit="units", at_most=lambda call: 4))
        handlers = spend(Work.handled_by(Worker(3)), budget)
        result = await handlers.arun(expecting(gather([add(1, 1), add(2, 2)]), OverBudget))
        assert isinstance(result.failure(), OverBudget)

    async def test_holds_in_a_stream(self) -> None:
        eff = fold_stream(
            lambda _, index: add(index, 0) if index < 9 else pure(None),
            lambda total, _, item: add(total, item),
            0,
            buffer=2,
        )
        worker = Worker(2)
        result = await spend(Work.handled_by(worker), Budget(5, each_call)).arun(expecting(eff, OverBudget))
        assert isinstance(result, Failure)
        assert len(worker.log) == 5

    async def test_of_seconds_ends_when_they_were_worked(self) -> None:
        budget = Budget(0.01, working_seconds())
        handlers = spend(Work.handled_by(Worker()), budget)
        slow: Result[int, str] = await handlers.arun(perform(Work.rest, 0.02))
        assert slow == Success(0)
        assert budget.spent > 0.01
        assert isinstance((await handlers.arun(expecting(add(1, 1), OverBudget))).failure(), OverBudget)
