"""A recorded run can be had again without handlers, and a program that does something else is found out."""

import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Diverged,
    Do,
    Eff,
    Journal,
    JournalError,
    Result,
    Success,
    UnrecordableError,
    attempt,
    bracket,
    do,
    fold_stream,
    gather,
    perform,
    pure,
    record,
    replay,
    retry,
    scoped,
    timeout,
)
from tests.effects.fakes import CrashError, Work, Worker, add, hang, refuse, say
from tests.effects.programs import Program, programs

steps = st.lists(st.integers(0, 5), min_size=1, max_size=5)
"""How often the calls of a run give way to others, in turn."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journals") / "journal"


def recorded(eff: Eff[object, object, Work], steps: tuple[int, ...] = (0,)) -> Journal:
    """Record a program in memory."""
    journal = Journal()
    record(Work.handled_by(Worker(*steps)), journal).run(eff)
    return journal


class TestReplay:
    @given(programs(crashing=False), steps)
    def test_gives_the_same_result_without_handlers(self, eff: Program, steps: list[int]) -> None:
        journal = Journal()
        result = record(Work.handled_by(Worker(*steps)), journal).run(eff)
        assert result == Work.handled_by(Worker(*steps)).run(eff)
        assert replay(journal).run(eff) == result

    @given(programs(crashing=False), steps)
    def test_gives_it_from_a_file_too(self, file: Path, eff: Program, steps: list[int]) -> None:
        file.unlink(missing_ok=True)
        with Journal.open(file) as journal:
            result = record(Work.handled_by(Worker(*steps)), journal).run(eff)
        with Journal.open(file) as journal:
            assert replay(journal).run(eff) == result

    @given(programs(crashing=False))
    def test_can_be_had_many_times(self, eff: Program) -> None:
        handlers = replay(recorded(eff))
        assert handlers.run(eff) == handlers.run(eff)

    def test_cancels_again_what_was_cancelled(self) -> None:
        limited = timeout(hang("a").bind(lambda _: add(1, 1)), seconds=0.02)
        failing = gather([hang("a"), perform(Work.rest, 0.02).bind(lambda _: refuse("no"))])
        for eff in (limited, failing):
            journal = Journal()
            result = record(Work.handled_by(Worker()), journal).run(eff)
            assert replay(journal).run(eff) == result

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(1, 3))
    def test_shows_the_producer_of_a_stream_what_it_saw_then(self, steps: list[int], buffer: int) -> None:
        def produce(latest: int, index: int) -> Eff[int | None, str, Work]:
            return pure(None) if index == 6 else add(latest, index)

        def consume(latest: int, index: int, item: int) -> Eff[int, str, Work]:
            return add(latest, item)

        eff = fold_stream(produce, consume, 0, buffer=buffer)
        journal = Journal()
        result = record(Work.handled_by(Worker(*steps)), journal).run(eff)
        assert replay(journal).run(eff) == result

    @pytest.mark.anyio
    async def test_shows_the_producer_of_a_stream_the_same_in_whatever_order_tasks_wake(self) -> None:
        draws = random.Random(0)
        for _ in range(150):  # trio wakes tasks in an order drawn anew each time

            def produce(latest: int, index: int) -> Eff[int | None, str, Work]:
                return pure(None) if index == 6 else add(latest, index)

            def consume(latest: int, index: int, item: int) -> Eff[int, str, Work]:
                return gather([add(latest, item), add(index, item)]).map(sum)

            eff = fold_stream(produce, consume, 0, buffer=draws.randint(1, 3))
            journal, worker = Journal(), Worker(*[draws.randint(0, 5) for _ in range(5)])
            result = await record(Work.handled_by(worker), journal).arun(eff)
            assert await replay(journal).arun(eff) == result

    def test_after_one_that_broke_off_starts_anew(self) -> None:
        journal = recorded(in_turn([("say", "a"), ("say", "b")]))
        handlers = replay(journal)
        with pytest.raises(Diverged):
            handlers.run(in_turn([("say", "a"), ("say", "b"), ("say", "c")]))
        with pytest.raises(Diverged, match=r"the recording goes on with Work.say at #2"):
            handlers.run(in_turn([("say", "a")]))


@do
def in_turn(calls: list[tuple[str, str]], scope: str = "") -> Do[str, Work, None]:
    """Make calls one after the other."""
    for name, word in calls:
        operation = {"say": Work.say, "refuse": Work.refuse}[name]
        eff: Eff[object, str, Work] = perform(operation, word)
        eff = scoped(scope, eff) if scope else eff
        yield from eff.lash(pure)


calls = st.tuples(st.sampled_from(["say", "refuse"]), st.sampled_from("abc"))
several = st.lists(calls, min_size=2, max_size=6)


def first_difference(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> int:
    """Give the number of the first call that differs, from 1."""
    same = [a == b for a, b in zip(before, after, strict=False)]
    return [*same, False].index(False) + 1


def assert_diverges(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> str:
    """Replay another program than was recorded; the message names the first call that differs."""
    with pytest.raises(Diverged) as caught:
        replay(recorded(in_turn(before))).run(in_turn(after))
    message = str(caught.value)
    assert f"#{first_difference(before, after)}" in message
    return message


class TestAMutation:
    @given(several, st.data())
    def test_that_swaps_two_calls_is_found(self, before: list[tuple[str, str]], data: st.DataObject) -> None:
        i, j = (data.draw(st.integers(0, len(before) - 1)) for _ in range(2))
        after = list(before)
        after[i], after[j] = after[j], after[i]
        if after != before:
            assert_diverges(before, after)

    @given(several, st.data())
    def test_that_drops_a_call_is_found(self, before: list[tuple[str, str]], data: st.DataObject) -> None:
        i = data.draw(st.integers(0, len(before) - 1))
        assert_diverges(before, [*before[:i], *before[i + 1 :]])

    @given(several)
    def test_that_drops_the_last_call_is_found(self, before: list[tuple[str, str]]) -> None:
        message = assert_diverges(before, before[:-1])
        name, _ = before[-1]
        assert message == f"the program ended, but the recording goes on with Work.{name} at #{len(before)}"

    @given(several, calls)
    def test_that_adds_a_call_is_found(self, before: list[tuple[str, str]], call: tuple[str, str]) -> None:
        assert "recorded: nothing" in assert_diverges(before, [*before, call])

    @given(several, st.data())
    def test_that_changes_an_argument_is_found(self, before: list[tuple[str, str]], data: st.DataObject) -> None:
        i = data.draw(st.integers(0, len(before) - 1))
        name, word = before[i]
        after = [*before[:i], (name, "another"), *before[i + 1 :]]
        lines = assert_diverges(before, after).splitlines()
        argument = "word" if name == "say" else "why"
        assert lines[-3:] == [
            f"  first difference: argument {argument!r}",
            "    now:      'another'",
            f"    recorded: {word!r}",
        ]

    @given(several, st.data())
    def test_that_calls_another_operation_is_found(self, before: list[tuple[str, str]], data: st.DataObject) -> None:
        i = data.draw(st.integers(0, len(before) - 1))
        name, word = before[i]
        other = "refuse" if name == "say" else "say"
        lines = assert_diverges(before, [*before[:i], (other, word), *before[i + 1 :]]).splitlines()
        assert lines[1:] == [f"  now:      Work.{other}", f"  recorded: Work.{name}"]

    @given(several)
    def test_that_renames_a_scope_is_found(self, before: list[tuple[str, str]]) -> None:
        with pytest.raises(Diverged, match="diverges from the recording at new/#1") as caught:
            replay(recorded(in_turn(before, "old"))).run(in_turn(before, "new"))
        assert f"nothing here; it goes on with Work.{before[0][0]} at old/#1" in str(caught.value)

    def test_of_a_default_is_found_where_it_is_passed(self) -> None:
        journal = recorded(perform(Work.add, 1))
        assert replay(journal).run(perform(Work.add, a=1, b=1)) == Success(2)
        with pytest.raises(Diverged, match="argument 'b'"):
            replay(journal).run(perform(Work.add, 1, 2))

    def test_of_a_long_argument_is_shown_clipped(self) -> None:
        with pytest.raises(Diverged) as caught:
            replay(recorded(say("x" * 999))).run(say("y" * 999))
        assert max(map(len, str(caught.value).splitlines())) < 230


class TestAStandstill:
    """Branches wait for each other, as in the recording; a program that does not go on is told so, and not left to hang."""

    def both(self, first: list[Program], second: Program) -> Eff[object, str, Work]:
        return gather([in_sequence(first), second])

    def test_for_a_call_that_is_not_made_any_more_names_it(self) -> None:
        journal = recorded(self.both([add(1, 1), add(2, 2)], add(9, 9)), steps=(1, 9, 1))
        unmade = "the program does not make Work.add at gather/[0]/#2"
        message = re.escape(f"{unmade}, which was recorded before the end of Work.add at gather/[1]/#1")
        with pytest.raises(Diverged, match=message):
            replay(journal).run(self.both([add(1, 1)], add(9, 9)))

    def test_for_a_cancellation_that_does_not_come_any_more_names_it(self) -> None:
        journal = recorded(timeout(hang("a"), seconds=0.02))
        message = "Work.hang at #1 was cancelled when it was recorded, and nothing cancels it now"
        with pytest.raises(Diverged, match=re.escape(message)):
            replay(journal).run(hang("a"))

    def test_is_none_while_a_time_limit_runs(self) -> None:
        limited = attempt(timeout(hang("a"), seconds=1.1))
        eff = gather([limited.map(lambda _: 1), perform(Work.rest, 1.2)])
        journal = recorded(eff)
        assert replay(journal).run(eff) == Success([1, 0])


@do
def in_sequence(parts: list[Program]) -> Do[str, Work, int]:
    """Run programs one after the other."""
    last = 0
    for part in parts:
        last = yield from part
    return last


class TestRecord:
    def test_says_what_may_have_happened_when_a_call_that_is_not_repeatable_broke_off(self) -> None:
        class Dying(Worker):
            async def pay(self, amount: int) -> Result[int, str]:
                raise CrashError("gone")

        journal = Journal()
        with pytest.raises(CrashError):
            record(Work.handled_by(Dying()), journal).run(perform(Work.pay, 5))
        assert journal.in_doubt == ("Work.pay at #1",)

    def test_says_so_of_one_that_was_cancelled(self) -> None:
        class Slow(Worker):
            async def pay(self, amount: int) -> Result[int, str]:
                return await self.hang("pay")

        journal = Journal()
        record(Work.handled_by(Slow()), journal).run(timeout(perform(Work.pay, 5), seconds=0.02))
        assert journal.in_doubt == ("Work.pay at #1",)

    def test_leaves_no_doubt_about_one_that_was_answered(self) -> None:
        assert recorded(perform(Work.pay, 5)).in_doubt == ()

    def test_makes_no_call_twice_over_the_journal_of_another_run(self) -> None:
        worker = Worker()
        handlers = record(Work.handled_by(worker), Journal())
        assert handlers.run(perform(Work.pay, 5)) == Success(5)
        with pytest.raises(JournalError, match="already holds a call at #1"):
            handlers.run(perform(Work.pay, 5))
        assert worker.log == ["pay 5"]

    def test_refuses_an_odd_argument_before_the_call_is_made(self) -> None:
        worker = Worker()
        odd: Eff[str, str, Work] = perform(Work.say, object())  # type: ignore[arg-type]  # what the test is about
        with pytest.raises(UnrecordableError, match=r"argument 'word' of Work.say at #1: cannot record a object"):
            record(Work.handled_by(worker), Journal()).run(odd)
        assert worker.log == []

    def test_keeps_the_arguments_as_they_were_before_the_call(self) -> None:
        class Greedy(Worker):
            async def say(self, word: str) -> Result[str, str]:
                changing.clear()
                return Success("")

        changing = ["a"]

        def saying() -> Eff[str, str, Work]:
            return perform(Work.say, changing)  # type: ignore[arg-type]  # what the test is about

        journal = Journal()
        record(Work.handled_by(Greedy()), journal).run(saying())
        changing.append("a")
        assert replay(journal).run(saying()) == Success("")

    def test_outside_of_retry_keeps_the_answer_that_the_program_got(self) -> None:
        class Busy(Worker):
            async def add(self, a: int, b: int = 1) -> Result[int, str]:
                self.log.append("add")
                return await self.refuse("busy") if len(self.log) < 2 else Success(a + b)

        journal = Journal()
        retrying = retry(Work.handled_by(Busy()), attempts=3, when=bool, wait_seconds=lambda *_: 0)
        assert record(retrying, journal).run(add(1, 2)) == Success(3)
        assert replay(journal).run(add(1, 2)) == Success(3)


def held(number: int) -> Eff[int, str, Work]:
    """Something acquired, used, and released by one more call."""
    return bracket(add(1, 1), lambda made: add(made, number), lambda made: attempt(add(made, number)))


def test_of_several_calls_that_diverge_on_the_way_out_the_first_is_named() -> None:
    journal = Journal()
    record(Work.handled_by(Worker()), journal).run(held(1))
    with pytest.raises(Diverged, match="recording at #2"):
        replay(journal).run(held(2))
