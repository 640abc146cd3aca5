"""Fanning out to sinks: each accepted record reaches each sink once, and no sink reaches the run."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Never

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Json,
    Proceed,
    Result,
    Success,
    attempt,
    do,
    fail,
    perform,
    tell,
)
from crucible.kitchen import Context, Recipe, run, stage
from crucible.kitchen.handlers import noop
from crucible.telemetry.errors import StoreError, StoreUnavailable
from crucible.telemetry.events import SampleShown, TelemetryRefused, WorkflowFailed, WorkflowStopped
from crucible.telemetry.experiments import Design, pause, start_experiment
from crucible.telemetry.numbering import NUMBERS_OF_A_WRITER
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.sinks import (
    Ending,
    InMemorySink,
    Sink,
    SinkLimits,
    SinkProblem,
    SinkRun,
    fan_out,
    flat_metadata,
)
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint

START = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = StoreUnavailable(message="the sink is down")
QUICK = SinkLimits(seconds=0.2, failures=2, records=1000)

Stores = Handlers[MetricsStore | EventStore]


def point(sequence: int, *, name: str = "loss") -> MetricPoint:
    moment = START + timedelta(seconds=sequence)
    return MetricPoint(name=name, value=sequence / 2, step=sequence, timestamp=moment, sequence=sequence)


def points(start: int, stop: int) -> list[MetricPoint]:
    return [point(sequence) for sequence in range(start, stop)]


def event(sequence: int, name: str = "step") -> EventRecord:
    return EventRecord(name=name, timestamp=START, attributes={}, sequence=sequence)


def stores() -> Stores:
    return noop.metrics() | noop.events()


@do
def recording(*batches: Sequence[MetricPoint], run_id: str = "run") -> Do[StoreError, MetricsStore | EventStore, None]:
    yield from perform(EventStore.open_run, run_id, metadata={"recipe": "sft"})
    for batch in batches:
        yield from perform(MetricsStore.record, run_id, batch)


class Breaking(InMemorySink):
    """Does what it is told to, instead of one of its operations, so many times."""

    def __init__(self, operation: str, instead: Callable[[], Result[Never, StoreError]], times: int = 10**9) -> None:
        super().__init__("breaking")
        self.operation = operation
        self.instead = instead
        self.times = times

    def broken(self, operation: str) -> Result[Never, StoreError] | None:
        if operation != self.operation or self.times == 0:
            return None
        self.times -= 1
        return self.instead()

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return self.broken("open") or super().open(run_id).map(lambda run: BreakingRun(self, run))


class BreakingRun(SinkRun):
    """A run of a `Breaking` sink."""

    def __init__(self, sink: Breaking, run: SinkRun) -> None:
        self.sink = sink
        self.run = run

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        return self.sink.broken("describe") or self.run.describe(metadata)

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return self.sink.broken("write") or self.run.write(points, events)

    def flush(self) -> Result[None, StoreError]:
        return self.sink.broken("flush") or self.run.flush()

    def close(self, ending: Ending) -> Result[None, StoreError]:
        return self.sink.broken("close") or self.run.close(ending)


def refusing() -> Result[Never, StoreError]:
    return Failure(DOWN)


def raising() -> Result[Never, StoreError]:
    raise RuntimeError("a bug of the SDK")


def of_loss(sink: InMemorySink, run_id: str = "run") -> list[tuple[int | None, float]]:
    return list(sink.content(run_id).points.get("loss", ()))


def pairs(*kept: MetricPoint) -> list[tuple[int | None, float]]:
    return [(each.step, each.value) for each in kept]


# What reaches a sink


def test_what_the_store_accepts_reaches_every_sink() -> None:
    first, second = InMemorySink(), InMemorySink()
    assert fan_out(stores(), first, second).run(recording(points(0, 3), points(3, 5))) == Success(None)
    for sink in (first, second):
        assert of_loss(sink) == pairs(*points(0, 5))
        assert sink.content("run").metadata == {"recipe": "sft"}


@given(st.lists(st.lists(st.integers(0, 20), max_size=8), max_size=8))
def test_a_record_reaches_a_sink_once_however_often_it_is_offered(batches: list[list[int]]) -> None:
    sink, kept = InMemorySink(), stores()
    offered = [[point(sequence) for sequence in batch] for batch in batches]
    fan_out(kept, sink).run(recording(*offered, [point(30)]))
    assert sorted(of_loss(sink)) == pairs(*kept.run(perform(MetricsStore.read, "run")).unwrap())


def test_events_reach_a_sink_once() -> None:
    sink = InMemorySink()

    @do
    def twice() -> Do[StoreError, MetricsStore | EventStore, None]:
        yield from recording()
        yield from perform(EventStore.insert, "run", [event(1), event(2)])
        yield from perform(EventStore.insert, "run", [event(2), event(3)])

    fan_out(stores(), sink).run(twice())
    assert [each.sequence for each in sink.runs["run"].events] == [1, 2, 3]


def test_what_the_store_refuses_reaches_no_sink_until_it_is_accepted() -> None:
    sink, calls = InMemorySink(), list[str]()

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        calls.append(call.name)
        return Failure(DOWN) if calls.count("MetricsStore.record") == 1 else await proceed(call)

    @do
    def offered_again() -> Do[StoreError, MetricsStore | EventStore, list[object]]:
        first = yield from attempt(perform(MetricsStore.record, "run", points(0, 2)))
        second = yield from attempt(perform(MetricsStore.record, "run", points(0, 3)))
        return [first, second]

    assert fan_out(stores().wrap(around), sink).run(offered_again()) == Success([Failure(DOWN), Success(3)])
    assert of_loss(sink) == pairs(*points(0, 3))


def test_a_run_opened_late_is_described_late() -> None:
    sink = InMemorySink()

    @do
    def late() -> Do[StoreError, MetricsStore | EventStore, None]:
        yield from perform(MetricsStore.record, "run", points(0, 1))
        while not of_loss(sink):
            time.sleep(0.001)
        yield from perform(EventStore.open_run, "run", metadata={"recipe": "sft"})

    fan_out(stores(), sink).run(late())
    assert sink.content("run").metadata == {"recipe": "sft"}


def test_a_deleted_run_may_have_its_numbers_again() -> None:
    sink = InMemorySink()

    @do
    def again() -> Do[StoreError, MetricsStore | EventStore, None]:
        for _ in range(2):
            yield from recording()
            yield from perform(EventStore.insert, "run", [event(1)])
            yield from perform(EventStore.delete_run, "run")

    fan_out(stores(), sink).run(again())
    assert [each.sequence for each in sink.runs["run"].events] == [1, 1]


def test_reading_starts_no_thread() -> None:
    handlers = fan_out(stores(), InMemorySink("unused"))
    handlers.run(perform(EventStore.list_runs))
    assert "sink unused" not in {thread.name for thread in threading.enumerate()}


# The end of a run


def told(*names: str) -> Eff[object, StoreError, MetricsStore | EventStore]:
    return recording().bind(
        lambda _: perform(EventStore.insert, "run", [event(number, name) for number, name in enumerate(names)])
    )


@pytest.mark.parametrize(
    ("names", "ending"),
    [
        ((), "completed"),
        ((WorkflowStopped.NAME,), "completed"),
        ((WorkflowFailed.NAME, WorkflowStopped.NAME), "completed"),
        ((WorkflowStopped.NAME, WorkflowFailed.NAME), "failed"),
    ],
)
def test_a_sink_is_closed_with_how_the_outermost_workflow_ended(names: tuple[str, ...], ending: Ending) -> None:
    sink = InMemorySink()
    fan_out(stores(), sink).run(told(*names))
    assert sink.runs["run"].endings == [ending]


def test_a_sink_is_closed_when_the_run_fails() -> None:
    sink = InMemorySink()
    assert isinstance(fan_out(stores(), sink).run(recording(points(0, 1)).bind(lambda _: fail(DOWN))), Failure)
    assert (of_loss(sink), sink.runs["run"].endings) == (pairs(point(0)), ["completed"])


@pytest.mark.anyio
async def test_a_sink_is_closed_when_the_run_is_cancelled() -> None:
    sink = InMemorySink()

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        if call.operation == MetricsStore.flush:
            await anyio.sleep_forever()
        return result

    work = recording(points(0, 1)).bind(lambda _: perform(MetricsStore.flush, "run"))
    with anyio.move_on_after(0.1):
        await fan_out(stores().wrap(around), sink).arun(work)
    assert (of_loss(sink), sink.runs["run"].endings) == (pairs(point(0)), ["interrupted"])


def test_the_next_run_opens_a_sink_again() -> None:
    sink = InMemorySink()
    handlers = fan_out(stores(), sink)
    handlers.run(recording(points(0, 2)))
    handlers.run(recording(points(1, 3)))
    assert of_loss(sink) == pairs(*points(0, 3))
    assert sink.runs["run"].endings == ["completed", "completed"]


@pytest.mark.anyio
async def test_runs_at_the_same_time_share_a_sink_that_is_closed_after_the_last() -> None:
    sink = InMemorySink()
    handlers = fan_out(stores(), sink)

    async def running(run_id: str, seconds: float) -> None:
        await handlers.arun(recording(points(0, 2), run_id=run_id))
        await anyio.sleep(seconds)

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(running, f"run {number}", number / 100)
    assert [of_loss(sink, f"run {number}") for number in range(5)] == [pairs(*points(0, 2))] * 5
    assert all(run.endings for run in sink.runs.values())


# Sinks that break


@pytest.mark.parametrize("instead", [refusing, raising])
@pytest.mark.parametrize(
    ("operation", "num_lost"), [("open", 6), ("describe", 0), ("write", 6), ("flush", 6), ("close", 0)]
)
def test_a_broken_sink_changes_nothing_but_what_is_told(
    operation: str, num_lost: int, instead: Callable[[], Result[Never, StoreError]]
) -> None:
    whole, broken, problems = InMemorySink(), Breaking(operation, instead), list[SinkProblem]()
    handlers = fan_out(stores(), broken, whole, limits=QUICK, on_problem=problems.append)
    assert handlers.run(recording(points(0, 2), points(2, 4), points(4, 6))) == Success(None)
    assert of_loss(whole) == pairs(*points(0, 6))
    assert {problem.sink for problem in problems} == {"breaking"}
    said = "the sink is down" if instead is refusing else "RuntimeError: a bug of the SDK"
    assert said in problems[0].message
    assert problems[-1].num_lost == num_lost
    assert len({problem.message for problem in problems}) == len(problems)


def test_a_sink_that_failed_once_goes_on() -> None:
    broken, problems = Breaking("write", refusing, times=1), list[SinkProblem]()

    @do
    def slowly() -> Do[StoreError, MetricsStore | EventStore, None]:
        for start in range(0, 6, 2):
            yield from recording(points(start, start + 2))
            while not problems:
                time.sleep(0.001)

    fan_out(stores(), broken, limits=QUICK, on_problem=problems.append).run(slowly())
    assert of_loss(broken) == pairs(*points(2, 6))
    assert [problem.num_lost for problem in problems] == [0, 2]
    assert str(problems[1]) == (
        "sink breaking: the run is over, and not all of it has reached this sink (records lost to it so far: 2)"
    )


@stage
def told_slowly(context: Context[list[SinkProblem]]) -> Do[Never, MetricsStore, Context[list[SinkProblem]]]:
    """Tell something when a problem has come up."""
    while not context.state:
        time.sleep(0.001)
    yield from tell(SampleShown(step=1, prompt="2 + 2 =", answer="4", expected="4"))
    return context


def test_a_problem_of_a_sink_is_kept_with_the_run() -> None:
    broken, problems = Breaking("write", refusing, times=2), list[SinkProblem]()
    recipe = Recipe(name="slow", description="", workflow=told_slowly >> told_slowly, default_config=problems)
    kept = stores()
    handlers = fan_out(kept, broken, limits=attrs.evolve(QUICK, failures=9), on_problem=problems.append)
    for _ in range(2):
        problems.clear()
        broken.times = 2
        run(recipe, handlers, run_id="slow").unwrap()
    wanted = EventFilter(name=TelemetryRefused.NAME)
    refused = kept.run(perform(EventStore.query, "slow", wanted)).unwrap()
    assert len(refused) >= 2
    assert {event.sequence // NUMBERS_OF_A_WRITER for event in refused} == {0, 1}
    assert "sink breaking: the sink is down" in [event.attributes["problem"] for event in refused]


def test_problems_of_sinks_are_no_events_of_an_experiment() -> None:
    broken, problems = Breaking("write", refusing), list[SinkProblem]()
    handlers = fan_out(stores(), broken, limits=QUICK, on_problem=problems.append)

    @do
    def life() -> Do[object, EventStore, tuple[EventRecord, ...]]:
        yield from start_experiment(Design(name="seeds"), experiment_id="exp")
        while not problems:
            time.sleep(0.001)
        yield from pause("exp")
        return (yield from perform(EventStore.query, "exp"))

    assert [event.sequence for event in handlers.run(life()).unwrap()] == [0, 1]


def test_a_sink_is_left_out_after_failures_in_a_row_until_the_next_run() -> None:
    broken, problems = Breaking("write", refusing, times=2), list[SinkProblem]()
    handlers = fan_out(stores(), broken, limits=QUICK, on_problem=problems.append)

    @do
    def waiting() -> Do[StoreError, MetricsStore | EventStore, None]:
        for start in range(2):
            yield from recording(points(start, start + 1))
            while broken.times > 1 - start:
                time.sleep(0.001)
        while len(problems) < 2:
            time.sleep(0.001)
        yield from recording(points(2, 5))

    handlers.run(waiting())
    assert of_loss(broken) == []
    assert "left out" in problems[1].message
    assert problems[-1].num_lost == 5
    handlers.run(recording(points(5, 7)))
    assert of_loss(broken) == pairs(*points(5, 7))


def test_a_sink_that_hangs_is_given_up_at_the_end_and_left_out_until_it_comes_back() -> None:
    back, problems = threading.Event(), list[SinkProblem]()

    def hanging() -> Result[Never, StoreError]:
        back.wait()
        return Failure(DOWN)

    whole, broken = InMemorySink(), Breaking("write", hanging, times=1)
    handlers = fan_out(stores(), broken, whole, limits=QUICK, on_problem=problems.append)
    start = time.monotonic()
    assert handlers.run(recording(points(0, 2))) == Success(None)
    assert handlers.run(recording(points(2, 4))) == Success(None)
    assert time.monotonic() - start < 2
    assert of_loss(whole) == pairs(*points(0, 4))
    assert [problem.num_lost for problem in problems[:2]] == [2, 0]
    assert "still not come back" in problems[1].message
    back.set()
    while "sink breaking" in {thread.name for thread in threading.enumerate()}:
        time.sleep(0.001)
    handlers.run(recording(points(4, 6)))
    assert of_loss(broken) == pairs(*points(4, 6))


def test_a_sink_that_hangs_is_noticed_while_the_run_goes_on() -> None:
    back, problems = threading.Event(), list[SinkProblem]()

    def hanging() -> Result[Never, StoreError]:
        back.wait()
        return Failure(DOWN)

    broken = Breaking("open", hanging)

    @do
    def long() -> Do[StoreError, MetricsStore | EventStore, None]:
        for start in range(20):
            yield from recording(points(start, start + 1))
            time.sleep(0.02)

    fan_out(stores(), broken, limits=QUICK, on_problem=problems.append).run(long())
    back.set()
    assert "took longer than 0.2 s" in problems[0].message
    assert problems[-1].num_lost == 20


def test_what_waits_for_a_slow_sink_has_a_limit() -> None:
    go, problems = threading.Event(), list[SinkProblem]()

    def slow() -> None:
        go.wait()

    class Slow(InMemorySink):
        def open(self, run_id: str) -> Result[SinkRun, StoreError]:
            slow()
            return super().open(run_id)

    sink = Slow("slow")

    @do
    def fast() -> Do[StoreError, MetricsStore | EventStore, None]:
        for start in range(0, 50, 10):
            yield from recording(points(start, start + 10))
        go.set()

    limits = SinkLimits(seconds=5, records=25)
    fan_out(stores(), sink, limits=limits, on_problem=problems.append).run(fast())
    assert of_loss(sink) == pairs(*points(0, 20))
    assert "more than 25 records wait" in problems[0].message
    assert problems[-1].num_lost == 30


# Telling


def test_problems_are_logged_unless_taken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="crucible.telemetry"):
        fan_out(stores(), Breaking("open", refusing)).run(recording())
    assert "sink breaking: the sink is down" in caplog.messages


def test_a_listener_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def listener(problem: SinkProblem) -> None:
        raise RuntimeError("no")

    broken = Breaking("write", refusing, times=1)
    handlers = fan_out(stores(), broken, on_problem=listener)
    handlers.run(recording(points(0, 1)))
    assert "telling of a problem failed: sink breaking: the sink is down" in caplog.text


def test_handlers_without_stores_are_refused() -> None:
    sink: Sink = InMemorySink()
    with pytest.raises(TypeError, match=r"add EventStore\.handled_by"):
        fan_out(noop.metrics(), sink)  # type: ignore[arg-type]  # refused by the type checker too


def test_no_sinks_are_fine() -> None:
    assert fan_out(stores()).run(recording(points(0, 1))) == Success(None)


def test_metadata_is_flattened_without_losing_a_name() -> None:
    metadata: dict[str, Json] = {
        "recipe": "sft",
        "config": {"recipe": "mine", "adam": {"lr": [0.1, None]}, "big": 2**64},
    }
    assert flat_metadata(metadata) == {
        "recipe": "sft",
        "config.recipe": "mine",
        "adam.lr": "[0.1, null]",
        "big": str(2**64),
    }
    assert flat_metadata({"config": "text"}) == {"config": "text"}
