"""`deadline` gives up what takes too long, in the error of the port."""

import anyio
import pytest

from crucible.effects import (
    Failure,
    Handlers,
    Journal,
    Success,
    TimedOut,
    TracedCall,
    Unanswered,
    attempt,
    deadline,
    expecting,
    fold_stream,
    gather,
    perform,
    pure,
    record,
    replay,
    retry,
    timeout,
    trace,
)
from crucible.train.errors import Unavailable, is_transient
from crucible.train.ports import EmbeddingClient
from tests.effects.fakes import Work, Worker, add, hang, refuse

pytestmark = pytest.mark.anyio


def quick(worker: Worker) -> Handlers[Work]:
    return deadline(Work.handled_by(worker), seconds=0.01)


class TestDeadline:
    async def test_leaves_what_is_quick_alone(self) -> None:
        handlers = deadline(Work.handled_by(Worker(3)), seconds=60)
        assert await handlers.arun(add(1, 2)) == Success(3)
        assert await handlers.arun(refuse("no")) == Failure("no")

    async def test_cancels_what_is_slow(self) -> None:
        worker = Worker()
        result = await quick(worker).arun(expecting(hang("a"), Unanswered))
        assert str(result.failure()) == "Work.hang at #1 was not answered within 0.01 s"
        assert worker.log == ["a begins", "a is cancelled"]

    async def test_may_differ_from_call_to_call(self) -> None:
        worker = Worker()
        handlers = deadline(Work.handled_by(worker), seconds=lambda call: 0.01 if call.operation is Work.hang else None)
        eff = attempt(expecting(hang("a"), Unanswered)).bind(lambda _: perform(Work.rest, 0.03))
        assert await handlers.arun(eff) == Success(0)

    async def test_is_for_each_call_of_a_gather_alone(self) -> None:
        worker = Worker()
        late = attempt(expecting(hang("a"), Unanswered)).map(lambda _: -1)
        assert await quick(worker).arun(gather([add(1, 2), late, late])) == Success([3, -1, -1])

    async def test_holds_in_a_stream(self) -> None:
        late = attempt(expecting(hang("a"), Unanswered)).map(lambda _: 1)
        eff = fold_stream(
            lambda _, index: late if index < 2 else pure(None), lambda total, _, item: add(total, item), 0, buffer=1
        )
        assert await quick(Worker()).arun(eff) == Success(2)

    async def test_does_not_take_a_cancellation_for_a_late_answer(self) -> None:
        worker = Worker()
        handlers = deadline(Work.handled_by(worker), seconds=60)
        assert await handlers.arun(timeout(hang("a"), seconds=0.01)) == Failure(TimedOut(seconds=0.01))
        assert worker.log == ["a begins", "a is cancelled"]

    async def test_says_that_nobody_knows_of_a_call_that_is_not_repeatable(self) -> None:
        class Slow(Worker):
            async def pay(self, amount: int) -> Success[int]:
                await anyio.sleep_forever()
                return Success(amount)

        result = await quick(Slow()).arun(expecting(perform(Work.pay, 1), Unanswered))
        assert str(result.failure()).endswith("0.01 s, and nobody knows whether it was carried out")


class TestOrder:
    """Inside of `retry` an attempt has the time, outside of it all attempts together."""

    class Late(EmbeddingClient):
        def __init__(self) -> None:
            self.asked = 0

        async def embed_texts(self, texts: object) -> Success[tuple[()]]:
            self.asked += 1
            if self.asked < 3:
                await anyio.sleep_forever()
            return Success(())

    async def test_inside_of_retry_each_attempt_has_the_time(self) -> None:
        late = self.Late()
        inside = deadline(EmbeddingClient.handled_by(late), seconds=0.01)
        handlers = retry(inside, attempts=3, when=is_transient, wait_seconds=lambda *_: 0)
        assert await handlers.arun(perform(EmbeddingClient.embed_texts, [])) == Success(())
        assert late.asked == 3

    async def test_outside_of_retry_all_of_them_together(self) -> None:
        late = self.Late()
        inside = retry(EmbeddingClient.handled_by(late), attempts=3, when=is_transient, wait_seconds=lambda *_: 0)
        result = await deadline(inside, seconds=0.01).arun(perform(EmbeddingClient.embed_texts, []))
        assert isinstance(result.failure(), Unavailable)
        assert late.asked == 1

    async def test_inside_of_record_what_was_late_is_replayed(self) -> None:
        journal = Journal()
        handlers = record(deadline(EmbeddingClient.handled_by(self.Late()), seconds=0.01), journal)
        eff = attempt(perform(EmbeddingClient.embed_texts, []))
        assert await handlers.arun(eff) == await replay(journal).arun(eff)

    async def test_outside_of_trace_what_was_late_is_shown_without_a_result(self) -> None:
        calls: list[TracedCall] = []
        handlers = deadline(trace(EmbeddingClient.handled_by(self.Late()), into=calls.append), seconds=0.01)
        await handlers.arun(perform(EmbeddingClient.embed_texts, []))
        assert [call.result for call in calls] == [None]
