"""`lockstep` finds where two backends first differ."""

import math
import re

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Difference,
    Disagreed,
    Failure,
    Handlers,
    Journal,
    Result,
    Success,
    expecting,
    fold_stream,
    gather,
    lockstep,
    perform,
    pure,
    record,
    replay,
    timeout,
)
from crucible.kitchen import Context
from crucible.kitchen.handlers import noop
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.train.ports import EmbeddingClient, SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig, SamplingConfig, SessionConfig
from tests.effects.fakes import CrashError, Work, Worker, add, crash, hang
from tests.effects.programs import Program, programs
from tests.effects.recordable import Outer

config = SupervisedConfig(session=SessionConfig(model="noop"), dataset=DatasetConfig(name="conversations"))


class Telling(Worker):
    """Answers `say` with what it was made with."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self._answer = answer

    async def say(self, word: str) -> Result[str, str]:
        return Success(self._answer)  # type: ignore[arg-type]  # any value


def disagreement(first: object, second: object, tolerance: float = 1e-6) -> Difference | None:
    """Ask two workers and give where they differ."""
    handlers = lockstep(Work.handled_by(Telling(first)), Work.handled_by(Telling(second)), tolerance=tolerance)
    result = handlers.run(expecting(perform(Work.say, "a"), Disagreed))
    if isinstance(result, Success):
        return None
    error = result.failure()
    assert isinstance(error, Disagreed)
    return error.difference


numbers = st.floats(-1e6, 1e6)


class TestLockstep:
    @given(programs(crashing=False), st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def test_of_equals_finds_nothing_and_asks_both(self, eff: Program, steps: list[int]) -> None:
        first, second, journal = Worker(), Worker(*steps), Journal()
        handlers = record(lockstep(Work.handled_by(first), Work.handled_by(second)), journal)
        result = handlers.run(eff)
        assert sorted(first.log) == sorted(second.log)
        assert replay(journal).run(eff) == result

    @given(numbers, st.floats(0, 0.1), st.floats(-0.2, 0.2))
    def test_lets_numbers_differ_by_the_tolerance(self, value: float, tolerance: float, off: float) -> None:
        other = value + off * max(1, abs(value))
        close = math.isclose(value, other, rel_tol=tolerance, abs_tol=tolerance)
        assert (disagreement([value], [other], tolerance) is None) == close

    @given(st.lists(numbers, min_size=1, max_size=9), st.data())
    def test_names_the_first_place_where_answers_differ(self, values: list[float], data: st.DataObject) -> None:
        where = data.draw(st.integers(0, len(values) - 1))
        others = [*values[:where], values[where] + 1e7, *values[where + 1 :]]
        found = disagreement(Outer(inner={"losses": values}), Outer(inner={"losses": others}))
        assert found == Difference(f".inner['losses'][{where}]", values[where], others[where])

    @pytest.mark.parametrize(
        ("first", "second", "where"),
        [
            ((1, 2), (1,), " (length)"),
            ({"a": 1}, {"b": 1}, " (keys)"),
            ("a", "b", ""),
            ("a", None, ""),
            ([1], (1,), ""),
            ([1, "x"], [1, "y"], "[1]"),
            (float("nan"), 1.0, ""),
            (Outer(1), Outer("a"), ".inner"),
        ],
    )
    def test_finds_other_differences_too(self, first: object, second: object, where: str) -> None:
        found = disagreement(first, second)
        assert found is not None
        assert found.where == where

    def test_takes_two_that_are_no_number_for_the_same(self) -> None:
        assert disagreement(float("nan"), float("nan")) is None

    def test_does_not_compare_what_no_journal_could_hold(self) -> None:
        assert disagreement([object()], [object()]) is None

    def test_finds_that_one_fails_and_the_other_does_not(self) -> None:
        class Refusing(Worker):
            async def add(self, a: int, b: int = 1) -> Result[int, str]:
                return Failure("no")

        handlers = lockstep(Work.handled_by(Worker()), Work.handled_by(Refusing()))
        message = "the backends disagree at Work.add at #1\n  first difference: answer\n    first:  <Success: 2>"
        with pytest.raises(Disagreed, match=re.escape(message)):
            handlers.run(add(1, 1))

    def test_raises_what_either_raises(self) -> None:
        for first, second in ((Worker(), Telling(1)), (Telling(1), Worker())):
            with pytest.raises(CrashError):
                lockstep(Work.handled_by(first), Work.handled_by(second)).run(crash("bang"))

    def test_needs_both_to_handle_the_port(self) -> None:
        with pytest.raises(LookupError, match="no handler for Work"):
            lockstep(Work.handled_by(Worker()), noop.embeddings()).run(add(1, 1))  # type: ignore[arg-type]  # what the test is about


def offset(by: int) -> Handlers[TrainingClient | SamplingClient]:
    """Give noop handlers that have opened sessions before, so that their ids are others."""
    handlers = noop.all()
    for _ in range(by):
        handlers.run(perform(TrainingClient.start_session, SessionConfig(model="noop"))).unwrap()
        handlers.run(perform(SamplingClient.start_session, SamplingConfig(model="noop"))).unwrap()
    return handlers


class TestTwoBackends:
    def test_with_ids_of_their_own_train_in_lockstep(self) -> None:
        handlers = noop.all() | lockstep(offset(0), offset(3))
        alone = noop.all().run(supervised(Context.start(config)))
        assert handlers.run(supervised(Context.start(config))) == alone

    def test_with_other_weights_are_told_apart(self) -> None:
        handlers = noop.all() | lockstep(noop.training(seed=0), noop.training(seed=1))
        with pytest.raises(Disagreed, match=r"TrainingClient\.await_ at .*\n.*answer\.(loss|metrics|outputs)"):
            handlers.run(supervised(Context.start(config)))

    def test_one_of_which_is_a_recording_are_compared_too(self) -> None:
        journal = Journal()
        eff = perform(EmbeddingClient.embed_texts, ["a"]).bind(lambda _: perform(EmbeddingClient.embed_texts, ["b"]))
        result = record(noop.embeddings(), journal).run(eff)
        handlers = lockstep(noop.embeddings(), replay(journal))
        assert handlers.run(eff) == handlers.run(eff) == result


@pytest.mark.anyio
class TestSideBySide:
    async def test_both_are_asked_at_the_same_time(self) -> None:
        class Meeting(Worker):
            def __init__(self, here: anyio.Event, there: anyio.Event) -> None:
                super().__init__()
                self._here, self._there = here, there

            async def say(self, word: str) -> Result[str, str]:
                self._here.set()
                await self._there.wait()
                return Success(word)

        a, b = anyio.Event(), anyio.Event()
        handlers = lockstep(Work.handled_by(Meeting(a, b)), Work.handled_by(Meeting(b, a)))
        assert await handlers.arun(perform(Work.say, "hi")) == Success("hi")

    async def test_both_are_cancelled(self) -> None:
        workers = Worker(), Worker()
        handlers = lockstep(*map(Work.handled_by, workers))
        await handlers.arun(timeout(hang("a"), seconds=0.01))
        assert [worker.log for worker in workers] == [["a begins", "a is cancelled"]] * 2

    async def test_they_keep_step_in_a_stream_and_in_a_gather(self) -> None:
        handlers = lockstep(Work.handled_by(Worker(2)), Work.handled_by(Worker(0, 3)))
        eff = fold_stream(
            lambda _, index: add(index, 0) if index < 5 else pure(None),
            lambda total, _, item: add(total, item),
            0,
            buffer=2,
        )
        assert await handlers.arun(eff) == Success(10)
        assert await handlers.arun(gather([add(n, n) for n in range(9)], limit=3)) == Success([2 * n for n in range(9)])
