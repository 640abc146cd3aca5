"""`trace` shows calls, and changes nothing."""

import pytest
from hypothesis import given

from crucible.effects import (
    Failure,
    Success,
    TracedCall,
    perform,
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
