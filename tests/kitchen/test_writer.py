"""The writer: what is told reaches the stores, and no store can stop a run."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import anyio
import pytest

from crucible.effects import Eff, Handlers, Result, Success, perform
from crucible.kitchen.writer import StoreWriter
from crucible.telemetry.errors import StoreUnavailable
from crucible.telemetry.events import EvaluationCompleted
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import MetricPoint
from tests.kitchen.fakes import Answer, Served, Stores, call_number, fails_with, meddling, raises, ticking

A = TypeVar("A")
E = TypeVar("E")

soup = Served(step=1, dish="soup", weight=0.5)
fish = Served(step=2, dish="fish", weight=1.5)
DOWN = StoreUnavailable(message="the store is down")


def open_stores() -> Stores:
    stores = Stores()
    stores.handlers().run(perform(EventStore.open_run, "evening")).unwrap()
    return stores


def writer_to(
    handlers: Handlers[MetricsStore | EventStore],
    *,
    first_sequence: int = 0,
    listener: Callable[[object], None] | None = None,
) -> StoreWriter:
    async def interpret(eff: Eff[A, E, MetricsStore | EventStore], /) -> Result[A, E]:
        return await handlers.arun(eff)

    return StoreWriter("evening", interpret, clock=ticking(), first_sequence=first_sequence, listener=listener)


def points_of(stores: Stores) -> list[MetricPoint]:
    return list(stores.handlers().run(perform(MetricsStore.read, "evening")).unwrap())


def test_an_event_becomes_a_record_and_its_measurements_points_of_their_series() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers())
    writer.append(("dinner", "soup"), soup)
    anyio.run(writer.flush)
    [event] = stores.handlers().run(perform(EventStore.query, "evening")).unwrap()
    assert (event.name, event.sequence) == ("kitchen.served", 1)
    assert event.attributes == {"path": "dinner/soup", "step": 1, "dish": "soup", "weight": 0.5}
    [point] = points_of(stores)
    assert (point.name, point.value, point.step, point.sequence) == ("kitchen/weight", 0.5, 1, 2)
    assert point.timestamp == event.timestamp == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert writer.points == [point]
    assert writer.told == [soup]


def test_an_event_of_any_class_is_stored_under_the_name_of_its_class() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers())
    writer.append((), 42)
    anyio.run(writer.flush)
    assert stores.names("evening") == ["int"]
    assert writer.points == []


def test_each_metric_of_an_evaluation_is_a_point() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers())
    writer.append((), EvaluationCompleted(step=3, metrics={"accuracy": 0.5}, num_examples=4))
    anyio.run(writer.flush)
    assert [(point.name, point.value) for point in points_of(stores)] == [
        ("eval/accuracy", 0.5),
        ("eval/num_examples", 4),
    ]


def test_numbers_go_on_after_the_last_of_the_run() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers(), first_sequence=7)
    writer.append((), soup)
    writer.append((), fish)
    anyio.run(writer.flush)
    events = stores.handlers().run(perform(EventStore.query, "evening")).unwrap()
    assert [event.sequence for event in events] == [8, 10]
    assert [point.sequence for point in points_of(stores)] == [9, 11]


@pytest.mark.parametrize("answer", [fails_with(DOWN), raises(OSError("unplugged"))], ids=["fails", "raises"])
@pytest.mark.parametrize("operation", ["MetricsStore.record", "EventStore.insert"])
def test_what_a_store_did_not_take_is_offered_again_and_arrives_once(operation: str, answer: Answer) -> None:
    stores = open_stores()
    writer = writer_to(meddling(stores.handlers(), call_number(operation, 1, 2), answer))
    writer.append((), soup)
    anyio.run(writer.flush)
    assert writer.num_waiting == 1
    writer.append((), fish)
    anyio.run(writer.flush)
    assert writer.num_waiting == 2
    anyio.run(writer.flush)
    assert writer.num_waiting == 0
    anyio.run(writer.flush)
    assert [point.value for point in points_of(stores)] == [0.5, 1.5]
    assert stores.texts("evening", "dish") == ["soup", "fish"]
    [problem] = writer.problems
    assert "the store is down" in problem or ("unplugged" in problem and operation in problem)


def test_nothing_told_means_no_call() -> None:
    writer = writer_to(meddling(Stores().handlers(), lambda call: True, raises(AssertionError())))
    anyio.run(writer.flush)
    assert writer.problems == []


def test_a_run_that_could_not_be_opened_is_opened_before_its_first_events() -> None:
    stores = Stores()
    writer = writer_to(meddling(stores.handlers(), call_number("EventStore.open_run", 1), fails_with(DOWN)))
    writer.open_later({"recipe": "dinner"}, because=StoreUnavailable(message="it was down before"))
    writer.append((), soup)
    anyio.run(writer.flush)
    assert (writer.num_waiting, len(points_of(stores))) == (1, 1)
    anyio.run(writer.flush)
    assert writer.num_waiting == 0
    assert stores.texts("evening", "dish") == ["soup"]
    [info] = stores.handlers().run(perform(EventStore.list_runs)).unwrap()
    assert info.metadata == {"recipe": "dinner"}
    assert writer.problems == ["it was down before", "the store is down"]


def test_a_listener_sees_each_event_and_cannot_stop_the_run() -> None:
    heard: list[object] = []

    def listener(event: object) -> None:
        heard.append(event)
        raise BrokenPipeError("nobody looks at it")

    stores = open_stores()
    writer = writer_to(stores.handlers(), listener=listener)
    writer.append((), soup)
    writer.append((), fish)
    anyio.run(writer.flush)
    assert heard == [soup, fish]
    assert stores.texts("evening", "dish") == ["soup", "fish"]
    assert writer.problems == ["the listener raised BrokenPipeError('nobody looks at it')"]


@pytest.mark.anyio
async def test_what_is_told_while_a_flush_is_under_way_waits_for_the_next() -> None:
    stores = Stores()
    (await stores.handlers().arun(perform(EventStore.open_run, "evening"))).unwrap()
    writer: StoreWriter

    async def tell_more(*_: object) -> Result[object, object]:
        writer.append((), fish)
        return Success(1)

    writer = writer_to(meddling(stores.handlers(), call_number("EventStore.insert", 1), tell_more))
    writer.append((), soup)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.flush)
        group.start_soon(writer.flush)
    assert writer.num_waiting == 0
    recorded = (await stores.handlers().arun(perform(MetricsStore.read, "evening"))).unwrap()
    assert [point.value for point in recorded] == [0.5, 1.5]
