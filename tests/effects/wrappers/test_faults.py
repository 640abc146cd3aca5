"""`inject` lets calls go wrong, in the same way each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Failure,
    Fault,
    InjectedCrash,
    Success,
    TimedOut,
    TracedCall,
    attempt,
    crashing,
    delayed,
    failing,
    fold_stream,
    gather,
    hanging,
    inject,
    perform,
    pure,
    retry,
    timeout,
    trace,
)
from tests.effects.fakes import Work, Worker, add, observe, say
from tests.effects.programs import Program, programs

chances = st.floats(0, 1)


class TestInject:
    @given(st.integers(0, 99), chances, st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def test_does_the_same_whatever_runs_beside_it(self, seed: int, chance: float, steps: list[int]) -> None:
        eff = gather([attempt(add(n, 0)) for n in range(8)])
        fault = Fault(failing("no"), chance=chance)
        together = inject(Work.handled_by(Worker(*steps)), fault, seed=seed)
        one_by_one = inject(Work.handled_by(Worker()), fault, seed=seed)
        assert together.run(eff) == one_by_one.run(gather([attempt(add(n, 0)) for n in range(8)], limit=1))

    @given(programs())
    def test_without_faults_changes_nothing(self, eff: Program) -> None:
        worker = Worker()
        never = [Fault(crashing(), chance=0), Fault(crashing(), at=999), Fault(crashing(), on=Work.pay)]
        assert observe(eff, worker, inject(Work.handled_by(worker), *never)) == observe(eff)

    @given(st.integers(1, 9), st.integers(1, 9))
    def test_befalls_the_nth_call_of_an_operation(self, at: int, calls: int) -> None:
        worker = Worker()
        handlers = inject(Work.handled_by(worker), Fault(failing("no"), on=Work.add, at=at))
        results = [handlers.run(attempt(say("a")).bind(lambda _: add(1, 1))) for _ in range(calls)]
        assert [n for n, result in enumerate(results, start=1) if result == Failure("no")] == [at][: calls >= at]

    def test_draws_again_for_the_next_attempt_at_a_call(self) -> None:
        faulty = inject(Work.handled_by(Worker()), Fault(failing("busy"), chance=0.5), seed=1)
        handlers = retry(faulty, attempts=50, when=bool, wait_seconds=lambda *_: 0)
        assert handlers.run(gather([add(n, 0) for n in range(20)])) == Success(list(range(20)))

    def test_of_several_faults_the_first_is_the_outermost(self) -> None:
        both = inject(Work.handled_by(Worker()), Fault(failing("first")), Fault(crashing()))
        assert both.run(add(1, 1)) == Failure("first")


@pytest.mark.anyio
class TestAFault:
    async def test_may_crash_before_the_call_or_after_it(self) -> None:
        for after, log in ((False, []), (True, ["1 + 1"])):
            worker = Worker()
            handlers = inject(Work.handled_by(worker), Fault(crashing(after=after), at=1))
            with pytest.raises(InjectedCrash, match=r"Work\.add at #1 crashed on purpose"):
                await handlers.arun(add(1, 1))
            assert worker.log == log
            assert await handlers.arun(add(1, 1)) == Success(2)

    async def test_may_hang_until_it_is_cancelled(self) -> None:
        worker = Worker()
        handlers = inject(Work.handled_by(worker), Fault(hanging()))
        assert await handlers.arun(timeout(add(1, 1), seconds=0.01)) == Failure(TimedOut(seconds=0.01))
        assert worker.log == []

    async def test_may_make_a_call_later(self) -> None:
        calls: list[TracedCall] = []
        handlers = trace(inject(Work.handled_by(Worker()), Fault(delayed(0.02), on=Work.add)), into=calls.append)
        assert await handlers.arun(gather([add(1, 1), perform(Work.say, "a").map(len)])) == Success([2, 1])
        assert [call.call.name for call in calls] == ["Work.say", "Work.add"]

    async def test_leaves_a_stream_by_its_error(self) -> None:
        eff = fold_stream(
            lambda _, index: add(index, 0) if index < 9 else pure(None),
            lambda total, _, item: add(total, item),
            0,
            buffer=2,
        )
        handlers = inject(Work.handled_by(Worker(1)), Fault(failing("no"), at=5))
        assert await handlers.arun(eff) == Failure("no")
