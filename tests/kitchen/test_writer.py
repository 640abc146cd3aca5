"""The writer: what is told reaches the stores, and no store can stop a run."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import anyio
import attrs
import pytest

from crucible.effects import Do, Eff, Failure, Handlers, Journal, Result, Success, perform, record, replay, tell
from crucible.kitchen import Recipe, execute, stage
from crucible.kitchen.writer import MAX_WAITING, SAVE_SECONDS, Numbers, StoreWriter
from crucible.telemetry.errors import StoreUnavailable
from crucible.telemetry.events import CheckpointSaved, EvaluationCompleted, TelemetryRefused
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventFilter, MetricPoint
from tests.kitchen.fakes import (
    Answer,
    Burnt,
    Cook,
    Meal,
    Plate,
    Served,
    Stores,
    Stove,
    call_number,
    fails_with,
    meddling,
    raises,
    ticking,
)

A = TypeVar("A")
E = TypeVar("E")

soup = Served(step=1, dish="soup", weight=0.5)
fish = Served(step=2, dish="fish", weight=1.5)
DOWN = StoreUnavailable(message="the store is down")


def open_stores() -> Stores:
    stores = Stores()
    stores.handlers().run(perform(EventStore.open_run, "evening")).unwrap()
    return stores


@attrs.frozen
class Interpreting:
    handlers: Handlers[MetricsStore | EventStore]
    is_replaying: bool = False

    async def __call__(self, eff: Eff[A, E, MetricsStore | EventStore], /) -> Result[A, E]:
        return await self.handlers.arun(eff)


def writer_to(
    handlers: Handlers[MetricsStore | EventStore],
    *,
    numbers: Numbers = Numbers(),
    listener: Callable[[object], None] | None = None,
    save_seconds: float = SAVE_SECONDS,
) -> StoreWriter:
    writer = StoreWriter("evening", Interpreting(handlers), clock=ticking(), numbers=numbers, listener=listener)
    writer.save_seconds = save_seconds
    return writer


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


def test_what_is_no_number_where_one_should_be_ends_no_run() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers())
    odd = {"text": "good", "nothing": None, "huge": 10**400, "loss": 0.5}
    writer.append((), EvaluationCompleted(step=1, metrics=odd, num_examples=4))  # type: ignore[arg-type]  # a wrong type
    anyio.run(writer.flush)
    assert {point.name: point.value for point in points_of(stores)} == {"eval/loss": 0.5, "eval/num_examples": 4.0}
    [event] = stores.handlers().run(perform(EventStore.query, "evening")).unwrap()
    assert {name: event.attributes[name] for name in odd} == odd


def test_numbers_go_on_after_the_last_of_the_run() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers(), numbers=Numbers(own=7))
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
    waiting = 1 if operation == "MetricsStore.record" else 2  # the event, and that it was refused
    assert writer.num_waiting == waiting
    writer.append((), fish)
    anyio.run(writer.flush)
    assert writer.num_waiting == waiting + 1
    anyio.run(writer.flush)
    assert writer.num_waiting == 0
    anyio.run(writer.flush)
    assert [point.value for point in points_of(stores)] == [0.5, 1.5]
    assert stores.texts("evening", "dish") == ["soup", "fish"]
    [problem] = writer.problems
    assert stores.texts("evening", "problem") == [problem]
    assert "the store is down" in problem or ("unplugged" in problem and operation in problem)


def test_a_record_that_cannot_be_kept_keeps_no_other_from_the_store(tmp_path: Path) -> None:
    handlers = EventStore.handled_by(SqliteEventStore(tmp_path)) | MetricsStore.handled_by(SqliteMetricsStore(tmp_path))
    handlers.run(perform(EventStore.open_run, "evening")).unwrap()
    writer = writer_to(handlers)
    for step in (1, 2, 2**70, 3, 4):
        writer.append((), attrs.evolve(soup, step=step))
    anyio.run(writer.flush)
    points = handlers.run(perform(MetricsStore.read, "evening")).unwrap()
    assert [point.step for point in points] == [1, 2, 3, 4]
    assert writer.num_waiting == 0
    [told] = handlers.run(perform(EventStore.query, "evening", EventFilter(name=TelemetryRefused.NAME))).unwrap()
    assert "too large" in str(told.attributes["problem"])


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
    assert (writer.num_waiting, len(points_of(stores))) == (3, 1)  # the event, and two problems
    anyio.run(writer.flush)
    assert writer.num_waiting == 0
    assert stores.texts("evening", "dish") == ["soup"]
    [info] = stores.handlers().run(perform(EventStore.list_runs)).unwrap()
    assert info.metadata == {"recipe": "dinner"}
    assert writer.problems == ["it was down before", "the store is down"]
    assert stores.texts("evening", "problem") == writer.problems


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


# A long stage


class Kitchen:
    """What keeps a stage from ending, and how many records a store had when it did."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.there: list[int] = []

    async def look(self, *_: object) -> Result[object, object]:
        with anyio.fail_after(30):
            while not await self._stores.texts_now("evening", "dish"):  # noqa: ASYNC110  # the store tells nobody
                await anyio.sleep(0.01)
        self.there.append(len(await self._stores.texts_now("evening", "dish")))
        return Success(1)


@stage
def serve_and_wait(context: Plate) -> Do[Burnt, Cook, Plate]:
    yield from tell(soup)
    yield from perform(Cook.make, "until it is stored")
    yield from tell(fish)
    return context


waiting = Recipe(name="wait", description="", workflow=serve_and_wait.named("wait"), default_config=Meal())


@pytest.mark.anyio
async def test_what_was_told_in_a_stage_that_goes_on_is_stored_meanwhile_and_once() -> None:
    stores = Stores()
    kitchen = Kitchen(stores)
    handlers = meddling(Cook.handled_by(Stove()), call_number("Cook.make", 1), kitchen.look) | stores.handlers()
    result = (await handlers.arun(execute(waiting, run_id="evening", clock=ticking()))).unwrap()
    assert kitchen.there == [1]
    assert await stores.texts_now("evening", "dish") == ["soup", "fish"]
    assert (await handlers.arun(perform(MetricsStore.read, "evening"))).unwrap() == result.metrics
    assert result.telemetry_problems == ()


@pytest.mark.anyio
async def test_a_run_that_was_saved_meanwhile_is_replayed_all_the_same() -> None:
    stores, journal = Stores(), Journal()
    handlers = meddling(Cook.handled_by(Stove()), call_number("Cook.make", 1), Kitchen(stores).look) | stores.handlers()
    work = execute(waiting, run_id="evening", clock=ticking())
    recorded = await record(handlers, journal).arun(work)
    assert [entry.call for entry in journal] == ["Cook.make"]
    assert await replay(journal).arun(execute(waiting, run_id="evening", clock=ticking())) == recorded


@pytest.mark.anyio
async def test_saving_goes_on_where_a_store_is_down() -> None:
    stores = Stores()
    (await stores.handlers().arun(perform(EventStore.open_run, "evening"))).unwrap()
    broken = meddling(stores.handlers(), call_number("MetricsStore.record", 1), raises(OSError("unplugged")))
    writer = writer_to(broken, save_seconds=0.0)
    writer.append((), soup)
    with anyio.move_on_after(0.2):
        await writer.keep_safe()
    writer.append((), fish)
    with anyio.move_on_after(0.2):
        await writer.keep_safe()
    assert ["unplugged" in problem for problem in writer.problems] == [True]
    assert (writer.num_waiting, await stores.texts_now("evening", "dish")) == (0, ["soup", "fish"])


def test_a_stage_that_tells_very_much_is_flushed_on_its_way() -> None:
    stores = Stores()
    there: list[int] = []

    async def look(*_: object) -> Result[object, object]:
        there.append(len(await stores.texts_now("evening", "dish")))
        return Success(1)

    @stage
    def serve_many(context: Plate) -> Do[Burnt, Cook, Plate]:
        for step in range(MAX_WAITING):  # an event and a point each
            yield from tell(Served(step=step, dish="soup", weight=0.5))
        yield from perform(Cook.make, "when half is stored")
        return context

    recipe = Recipe(name="many", description="", workflow=serve_many.named("many"), default_config=Meal())
    handlers = meddling(Cook.handled_by(Stove()), call_number("Cook.make", 1), look) | stores.handlers()
    result = handlers.run(execute(recipe, run_id="evening", clock=ticking())).unwrap()
    assert there[0] >= MAX_WAITING - MAX_WAITING // 2 - 2
    assert len(result.metrics) == len(stores.texts("evening", "dish")) == MAX_WAITING


def test_a_store_that_is_down_is_not_asked_again_for_each_event_beyond_the_limit() -> None:
    asked: list[object] = []

    async def down(*_: object) -> Result[object, object]:
        asked.append(_)
        return Failure(DOWN)

    writer = writer_to(meddling(open_stores().handlers(), lambda call: True, down))
    for step in range(2 * MAX_WAITING):
        writer.append((), Served(step=step, dish="soup", weight=0.5))
        if writer.is_full:
            anyio.run(writer.flush)
    assert len(asked) == 8
    assert writer.num_waiting == 4 * MAX_WAITING + 1  # and that the store is down


def test_what_was_written_and_where_in_the_workflow_are_told_apart() -> None:
    stores = open_stores()
    writer = writer_to(stores.handlers())
    writer.append(("dinner", "save"), CheckpointSaved(step=3, path="runs/1/checkpoint"))
    anyio.run(writer.flush)
    assert (stores.texts("evening", "path"), stores.texts("evening", "file")) == (
        ["dinner/save"],
        ["runs/1/checkpoint"],
    )


@pytest.mark.anyio
async def test_a_run_that_is_cancelled_from_outside_ends_as_one_without_saving() -> None:
    stores = Stores()

    async def hang(*_: object) -> Result[object, object]:
        await anyio.sleep_forever()
        return Success(1)

    handlers = meddling(Cook.handled_by(Stove()), call_number("Cook.make", 1), hang) | stores.handlers()
    with anyio.move_on_after(0.1) as limit:
        await handlers.arun(execute(waiting, run_id="evening", clock=ticking()))
    assert limit.cancelled_caught
    assert await stores.texts_now("evening", "dish") == ["soup"]
    assert await stores.texts_now("evening", "error") == ["cancelled", "cancelled"]
