"""`resume` goes on where the journal of a run ends, and does nothing again that was done."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Diverged,
    Do,
    Eff,
    Failure,
    Fault,
    Handlers,
    InDoubt,
    InjectedCrash,
    Journal,
    Success,
    TracedCall,
    attempt,
    crashing,
    do,
    expecting,
    fold_stream,
    gather,
    inject,
    perform,
    pure,
    record,
    replay,
    resume,
    scoped,
    show_path,
    timeout,
    trace,
)
from crucible.kitchen.handlers import noop
from crucible.train.errors import SessionClosed
from crucible.train.ports import SamplingClient
from crucible.train.types import ModelInput, SamplingConfig, SamplingParams
from tests.effects.fakes import Work, Worker, add, guarded, hang, refuse, said, say
from tests.effects.programs import Program, programs

steps = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def cut(journal: Journal, length: int) -> Journal:
    """Give the journal that a run which died after `length` calls has left."""
    left = Journal()
    for path, number in journal.choices.items():
        left.choose(path, number)
    for entry in list(journal)[:length]:
        left.append(entry)
    return left


def stream(items: int, buffer: int) -> Program:
    """Make what the newest result says, and add it up: what is made depends on how far the consumer was."""

    def produce(latest: int, index: int) -> Eff[int | None, str, Work]:
        return pure(None) if index == items else add(latest, index)

    return fold_stream(produce, lambda latest, _, item: add(latest, item), 0, buffer=buffer)


class TestResume:
    @given(programs(crashing=False), st.data())
    def test_from_any_point_gives_the_same_and_makes_only_what_is_missing(
        self, eff: Program, data: st.DataObject
    ) -> None:
        journal, first = Journal(), Worker()
        result = record(Work.handled_by(first), journal).run(eff)
        length = data.draw(st.integers(0, len(journal)))
        left, second = cut(journal, length), Worker()
        assert resume(Work.handled_by(second), left).run(eff) == result
        assert second.log == first.log[length:]
        assert [(entry.path, entry.result) for entry in left] == [(entry.path, entry.result) for entry in journal]

    @given(programs(crashing=False), steps, steps, st.data())
    def test_makes_nothing_again_whatever_runs_at_once(
        self, eff: Program, before: list[int], after: list[int], data: st.DataObject
    ) -> None:
        journal = Journal()
        record(Work.handled_by(Worker(*before)), journal).run(eff)
        left = cut(journal, data.draw(st.integers(0, len(journal))))
        known, made = {entry.path for entry in left}, list[TracedCall]()
        result = resume(trace(Work.handled_by(Worker(*after)), into=made.append), left).run(eff)
        assert known.isdisjoint(show_path(each.call.path) for each in made)
        assert replay(left).run(eff) == result

    @given(st.integers(0, 6), st.integers(1, 3), steps, steps, st.data())
    def test_of_a_stream_goes_on_with_what_the_producer_saw(
        self, items: int, buffer: int, before: list[int], after: list[int], data: st.DataObject
    ) -> None:
        eff, journal = stream(items, buffer), Journal()
        record(Work.handled_by(Worker(*before)), journal).run(eff)
        left = cut(journal, data.draw(st.integers(0, len(journal))))
        result = resume(Work.handled_by(Worker(*after)), left).run(eff)
        assert replay(left).run(eff) == result

    @given(programs(crashing=False), st.integers(1, 5))
    def test_after_crash_upon_crash_comes_to_the_end(self, eff: Program, every: int) -> None:
        journal = Journal()
        crashes = [Fault(crashing(), at=every * n) for n in range(1, 6)]
        handlers = resume(inject(Work.handled_by(Worker()), *crashes), journal)
        for _ in crashes:
            with suppress(InjectedCrash):
                handlers.run(eff)
        result = Work.handled_by(Worker()).run(eff)
        assert handlers.run(eff) == result
        assert replay(journal).run(eff) == result

    def test_of_a_run_that_ended_makes_nothing(self) -> None:
        journal, worker = Journal(), Worker()
        handlers = resume(Work.handled_by(worker), journal)
        eff = gather([add(1, 2), refuse("no").lash(lambda _: pure(0))])
        assert handlers.run(eff) == handlers.run(eff) == Success([3, 0])
        assert worker.log == ["1 + 2", "refuse no"]

    def test_of_another_program_diverges(self) -> None:
        journal = Journal()
        record(Work.handled_by(Worker()), journal).run(say("a"))
        worker = Worker()
        with pytest.raises(Diverged, match="argument 'word'"):
            resume(Work.handled_by(worker), journal).run(say("b"))
        with pytest.raises(Diverged, match=r"nothing here; it goes on with Work\.say at #1"):
            resume(Work.handled_by(worker), journal).run(scoped("new", add(1, 1)))
        with pytest.raises(Diverged, match=r"the recording goes on with Work\.say at #1"):
            resume(Work.handled_by(worker), journal).run(pure(1))
        assert worker.log == []

    def test_of_what_a_sibling_cancelled_waits_for_it_again(self) -> None:
        eff = attempt(gather([hang("a"), perform(Work.rest, 0.01).bind(lambda _: refuse("no"))])).map(str)
        both = eff.bind(say)
        journal, worker = Journal(), Worker()
        result = record(Work.handled_by(Worker()), journal).run(both)
        assert resume(Work.handled_by(worker), cut(journal, 3)).run(both) == result == Success("<Failure: no>")
        assert worker.log == ["<Failure: no>"]


@do
def session(prompt: str) -> Do[object, SamplingClient, int]:
    """Open a session and sample from it twice."""
    opened = yield from perform(SamplingClient.start_session, SamplingConfig(model="noop"))
    total = 0
    for seed in range(2):
        params = SamplingParams(max_tokens=3, seed=seed)
        groups = yield from perform(SamplingClient.sample, opened, [ModelInput.from_tokens([65])], params)
        total += len(groups[0][0].tokens)
    return total


class TestWhatAHandlerHasLost:
    def test_is_an_error_of_its_port(self) -> None:
        journal, handlers = Journal(), noop.sampling()
        record(handlers, journal).run(session("a"))
        gone = resume(noop.sampling(), cut(journal, 2)).run(session("a"))
        assert gone == Failure(SessionClosed(session_id="sampling-1"))
        assert resume(handlers, cut(journal, 2)).run(session("a")) == record(noop.sampling(), Journal()).run(
            session("a")
        )


class TestACallInDoubt:
    def dead(self) -> Journal:
        """Die after a payment, before its answer is written."""
        journal = Journal()
        handlers = inject(Work.handled_by(Worker()), Fault(crashing(after=True), on=Work.pay))
        with pytest.raises(InjectedCrash):
            record(handlers, journal).run(paying)
        return journal

    def test_is_not_made_again(self) -> None:
        worker, journal = Worker(), self.dead()
        result = resume(Work.handled_by(worker), journal).run(expecting(paying, InDoubt))
        assert str(result.failure()).startswith("Work.pay at #2 began before the run broke off")
        assert worker.log == []
        assert journal.in_doubt == ("Work.pay at #2",)

    def test_is_made_again_where_that_is_said_to_be_safe(self) -> None:
        worker, journal = Worker(), self.dead()
        asked: list[str] = []

        def repeat(call: object) -> bool:
            asked.append(str(call))
            return True

        assert resume(Work.handled_by(worker), journal, repeat=repeat).run(paying) == Success(5)
        assert worker.log == ["pay 5"]
        assert asked == ["Work.pay at #2"]
        assert journal.in_doubt == ()


paying = add(1, 1).bind(lambda _: perform(Work.pay, 5))


@pytest.mark.anyio
class TestABreak:
    """What finalizers do on the way out of a run that breaks off is no part of it."""

    @pytest.mark.parametrize("in_file", [False, True])
    async def test_by_a_defect_is_where_the_run_goes_on(self, tmp_path: Path, in_file: bool) -> None:
        def opened() -> Journal:
            return Journal.open(tmp_path / "journal")

        journal = opened() if in_file else Journal()
        worker = Worker(1)
        eff = guarded(scoped("a", add(1, 1).bind(lambda _: add(2, 2))), said("released")).bind(lambda _: say("end"))
        faulty = inject(Work.handled_by(worker), Fault(crashing(), on=Work.add, at=2))
        with pytest.raises(InjectedCrash):
            await record(faulty, journal).arun(eff)
        assert worker.log == ["1 + 1", "released"]
        if in_file:
            journal.close()
            journal = opened()
        with journal:
            assert await resume(faulty, journal).arun(eff) == Success("end")
            assert worker.log == ["1 + 1", "released", "2 + 2", "released", "end"]
            assert await replay(journal).arun(eff) == Success("end")

    async def test_from_outside_is_where_the_run_goes_on(self) -> None:
        worker, journal = Worker(), Journal()
        slow = perform(Work.rest, 0.05)
        branches = gather([guarded(add(n, 0).bind(lambda _: slow), said(f"released {n}")) for n in range(3)])
        eff = guarded(branches, said("all released")).bind(lambda _: say("end"))
        handlers = resume(Work.handled_by(worker), journal)
        with anyio.move_on_after(0.01) as stopped:
            await handlers.arun(eff)
        assert stopped.cancelled_caught
        assert "all released" in worker.log
        assert [entry.call for entry in journal] == ["Work.add"] * 3
        assert await handlers.arun(eff) == Success("end")
        assert [line for line in worker.log if "+" in line] == ["0 + 0", "1 + 0", "2 + 0"]

    async def test_by_a_time_limit_of_the_program_is_none(self) -> None:
        journal = Journal()
        eff = attempt(timeout(hang("a"), seconds=0.01)).bind(lambda _: say("b"))
        await record(Work.handled_by(Worker()), journal).arun(eff)
        assert [entry.call for entry in journal] == ["Work.hang", "Work.say"]

    async def test_that_the_program_survives_is_none(self) -> None:
        @do
        def surviving() -> Do[str, Work, str]:
            try:
                yield from perform(Work.crash, "bang")
            except Exception as error:  # noqa: BLE001  # what the test is about
                return (yield from say(str(error)))
            return ""

        journal = Journal()
        assert await record(Work.handled_by(Worker()), journal).arun(surviving()) == Success("bang")
        assert [entry.call for entry in journal] == ["Work.say"]


KILLED = """
import os, signal, sys
from pathlib import Path
from crucible.effects import Handlers, Journal, Success, resume
from tests.effects.fakes import Work, Worker
from tests.effects.wrappers.test_resume import long_run

class Mortal(Worker):
    async def add(self, a, b=1):
        with Path(sys.argv[2]).open("a") as log:
            log.write(f"{a} + {b}\\n")
        if Path(sys.argv[2]).read_text().count("\\n") == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().add(a, b)

with Journal.open(sys.argv[1]) as journal:
    print(resume(Work.handled_by(Mortal(1)), journal).run(long_run))
"""

long_run = gather([add(n, 1).bind(lambda m: add(m, 10)) for n in range(4)], limit=2).map(sum)


def test_a_killed_process_is_taken_up_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "journal"), str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    for at in (3, 6):
        died = subprocess.run([*command, str(at)], env=environment, check=False, timeout=60, capture_output=True)
        assert died.returncode == -signal.SIGKILL, died.stderr
    made = (tmp_path / "log").read_text().splitlines()
    worker = Worker()
    with Journal.open(tmp_path / "journal") as journal:
        answered = len(journal)
        assert resume(Work.handled_by(worker), journal).run(long_run) == Success(50)
        assert len(worker.log) == 8 - answered
        assert replay(journal).run(long_run) == Success(50)
    assert 1 <= answered < len(made)
    assert set(made) | set(worker.log) == {f"{n} + 1" for n in range(4)} | {f"{n + 1} + 10" for n in range(4)}


def test_types_are_kept() -> None:
    handlers: Handlers[Work] = resume(Work.handled_by(Worker()), Journal())
    assert handlers.run(add(1, 2)) == Success(3)


def test_a_journal_without_a_run_is_the_beginning_of_one(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal") as journal:
        assert resume(Work.handled_by(Worker()), journal).run(stream(4, 2)).unwrap() >= 0
        recorded = len(journal)
    with Journal.open(tmp_path / "journal") as journal:
        assert len(journal) == recorded == 8
        worker = Worker()
        resume(Work.handled_by(worker), journal).run(stream(4, 2)).unwrap()
        assert worker.log == []
