"""`cache` asks the same question once, and gives what was answered."""

import dbm.dumb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Failure,
    Handlers,
    Success,
    TimedOut,
    UnrecordableError,
    attempt,
    cache,
    fold_stream,
    gather,
    perform,
    pure,
    timeout,
)
from crucible.kitchen.handlers import noop
from crucible.train.ports import EmbeddingClient
from tests.effects.fakes import CrashError, Work, Worker, add, crash, hang, observe, refuse
from tests.effects.programs import Program, programs


def cached(worker: Worker, store: dict[str, str] | None = None) -> Handlers[Work]:
    return cache(
        Work.handled_by(worker),
        operations=[Work.add, Work.refuse, Work.crash, Work.hang, Work.say],
        store={} if store is None else store,
    )


class TestCache:
    @given(programs(), st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def test_of_a_pure_handler_shows_in_nothing_but_the_number_of_calls(self, eff: Program, steps: list[int]) -> None:
        worker = Worker()
        assert observe(eff, worker, cached(worker)).outcome == observe(eff).outcome
        side_by_side = Worker(*steps)
        observe(eff, side_by_side, cached(side_by_side))
        for log in (worker.log, side_by_side.log):
            added = [line for line in log if " + " in line]
            assert len(added) == len(set(added))

    @given(programs(crashing=False))
    def test_makes_no_successful_call_again_in_another_run(self, eff: Program) -> None:
        store: dict[str, str] = {}
        first, second = Worker(), Worker()
        assert cached(first, store).run(eff) == cached(second, store).run(eff)
        assert [line for line in second.log if " + " in line] == []

    def test_knows_arguments_however_they_are_passed(self) -> None:
        worker = Worker()
        handlers = cached(worker)
        for eff in (perform(Work.add, 1), perform(Work.add, 1, 1), perform(Work.add, b=1, a=1)):
            assert handlers.run(eff) == Success(2)
        assert worker.log == ["1 + 1"]

    def test_keeps_no_failure_and_no_defect(self) -> None:
        worker = Worker()
        handlers = cached(worker)
        assert handlers.run(refuse("no")) == handlers.run(refuse("no")) == Failure("no")
        for _ in range(2):
            with pytest.raises(CrashError):
                handlers.run(crash("bang"))
        assert worker.log == ["refuse no"] * 2 + ["crash bang"] * 2

    def test_leaves_other_operations_alone(self) -> None:
        worker = Worker()
        handlers = cache(Work.handled_by(worker), operations=[Work.say], store={})
        assert handlers.run(add(1, 2)) == handlers.run(add(1, 2)) == Success(3)
        assert worker.log == ["1 + 2"] * 2

    def test_may_be_kept_in_a_file(self, tmp_path: Path) -> None:
        embed = perform(EmbeddingClient.embed_texts, ["a", "b"])
        for handlers in (noop.embeddings(), Handlers.none()):
            with dbm.dumb.open(str(tmp_path / "answers")) as store:
                result = (noop.all() | cache(handlers, operations=[EmbeddingClient.embed_texts], store=store)).run(
                    embed
                )
                assert result == noop.embeddings().run(embed)

    def test_takes_no_call_that_is_not_repeatable(self) -> None:
        with pytest.raises(ValueError, match=r"Work\.pay is not repeatable"):
            cache(Work.handled_by(Worker()), operations=[Work.pay], store={})

    def test_takes_nothing_but_operations(self) -> None:
        with pytest.raises(TypeError, match="is not an operation of a port"):
            cache(Work.handled_by(Worker()), operations=[Worker().add], store={})

    def test_refuses_an_odd_argument(self) -> None:
        with pytest.raises(UnrecordableError):
            cached(Worker()).run(perform(Work.say, object()))  # type: ignore[arg-type]  # what the test is about


@pytest.mark.anyio
class TestCallsAtTheSameTime:
    async def test_are_made_once(self) -> None:
        worker = Worker(3)
        assert await cached(worker).arun(gather([add(1, 2)] * 5)) == Success([3] * 5)
        assert worker.log == ["1 + 2"]

    async def test_are_made_by_the_next_when_the_first_is_cancelled(self) -> None:
        worker = Worker()
        both = gather([attempt(timeout(hang("a"), seconds=seconds)) for seconds in (0.01, 0.05)])
        results = await cached(worker).arun(both)
        assert results == Success([Failure(TimedOut(seconds=seconds)) for seconds in (0.01, 0.05)])
        assert worker.log == ["a begins", "a is cancelled"] * 2

    async def test_of_a_stream_are_made_once_too(self) -> None:
        worker = Worker(1)
        eff = fold_stream(
            lambda _, index: add(1, 1) if index < 4 else pure(None), lambda total, _, item: add(1, 1), 0, buffer=2
        )
        assert await cached(worker).arun(eff) == Success(2)
        assert worker.log == ["1 + 1"]
