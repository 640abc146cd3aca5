"""Runs that an experiment controls: they wait while it is paused, and end when it is stopped."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Proceed,
    Result,
    attempt,
    bracket,
    do,
    expecting,
    gather,
    perform,
    timeout,
)
from crucible.kitchen import run
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.experiments import StoppedByExperiment, controlled, in_experiment
from crucible.telemetry.errors import StoreUnavailable
from crucible.telemetry.events import WorkflowFailed
from crucible.telemetry.experiments import (
    Design,
    RunHeld,
    RunReleased,
    SampleComplete,
    add_run,
    get_experiment,
    pause,
    resume,
    start_experiment,
    stop,
)
from crucible.telemetry.ports import EventStore
from crucible.telemetry.stores import SqliteEventStore
from crucible.telemetry.types import EventRecord
from tests.kitchen.fakes import Burnt, Cook, Stores, Stove, call_number, fails_with, meddling, raises
from tests.kitchen.test_run import kitchen, recipe

CHILD = """
import sys, time
sys.path.insert(0, {root!r})
import anyio
from crucible.effects import Success
from crucible.kitchen import Recipe, run
from crucible.kitchen.handlers.experiments import StoppedByExperiment, controlled, in_experiment
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from tests.kitchen.fakes import Cook, Meal, Stove, cooking, in_a_row

class Slow(Stove):
    async def make(self, dish):
        print("made", dish, flush=True)
        await anyio.sleep(0.02)
        return await super().make(dish)
    async def take_back(self, number):
        print("took back", number, flush=True)
        return await super().take_back(number)

folder = sys.argv[1]
telemetry = EventStore.handled_by(SqliteEventStore(folder)) | MetricsStore.handled_by(SqliteMetricsStore(folder))
dinner = in_a_row([cooking(f"dish-{{i}}") for i in range(int(sys.argv[2]))]).named("dinner")
recipe = Recipe(name="dinner", description="", workflow=dinner, default_config=Meal())
about = telemetry.run(in_experiment("exp", "run")).unwrap()
cooks = controlled(Cook.handled_by(Slow()), "exp", run_id="run", store=telemetry, poll_seconds=0.01)
try:
    result = run(recipe, cooks | telemetry, run_id="run", about=about)
    print("finished", len(result.unwrap().context.state.dishes), flush=True)
except StoppedByExperiment as stopped:
    print("stopped:", stopped, flush=True)
"""


def started(store: Handlers[EventStore], sample_size: int | None = None) -> Handlers[EventStore]:
    design = Design(name="dinners", condition="warm", sample_size=sample_size)
    store.run(start_experiment(design, experiment_id="exp")).unwrap()
    return store


async def paused() -> Handlers[EventStore]:
    store = noop.events()
    (await store.arun(start_experiment(Design(name="dinners"), experiment_id="exp"))).unwrap()
    (await store.arun(pause("exp"))).unwrap()
    return store


async def is_held(store: Handlers[EventStore]) -> None:
    """Wait until a run says that it waits."""
    with anyio.fail_after(30):
        while True:
            events = (await store.arun(perform(EventStore.query, "exp"))).unwrap()
            if any(event.name == RunHeld.NAME for event in events):
                return
            await anyio.sleep(0.005)


def pausing_after(number: int, store: Handlers[EventStore], stove: Stove) -> Handlers[Cook]:
    async def pausing(call: Call, proceed: Proceed) -> Result[object, object]:
        answer = await proceed(call)
        await store.arun(pause("exp"))
        return answer

    cook = meddling(Cook.handled_by(stove), call_number("Cook.make", number), pausing)
    return controlled(cook, "exp", run_id="run", store=store, poll_seconds=0)


def told(store: Handlers[EventStore], run_id: str = "exp") -> list[EventRecord]:
    return list(store.run(perform(EventStore.query, run_id)).unwrap())


def names(store: Handlers[EventStore]) -> list[str]:
    return [event.name.removeprefix("crucible_kitchen.experiment.") for event in told(store)]


def cook_under(store: Handlers[EventStore], stove: Stove, poll_seconds: float = 0) -> Handlers[Cook]:
    return controlled(Cook.handled_by(stove), "exp", run_id="run", store=store, poll_seconds=poll_seconds)


@do
def three_dishes() -> Do[Burnt, Cook, int]:
    for dish in ("soup", "fish"):
        yield from perform(Cook.make, dish)
    return (yield from perform(Cook.make, "cake"))


# Being part of it


def test_a_run_is_known_by_its_experiment_and_the_experiment_by_its_runs() -> None:
    stores = Stores()
    store = started(stores.handlers(), sample_size=1)
    about = store.run(in_experiment("exp", "run")).unwrap()
    handlers = controlled(kitchen(), "exp", run_id="run", store=store)
    run(recipe, handlers | stores.handlers(), run_id="run", about=about).unwrap()
    assert store.run(get_experiment("exp")).unwrap().run_ids == ("run",)
    [info] = [it for it in store.run(perform(EventStore.list_runs)).unwrap() if it.run_id == "run"]
    assert (info.metadata["experiment"], info.metadata["condition"]) == ("exp", "warm")
    assert isinstance(store.run(in_experiment("exp", "another")).failure(), SampleComplete)


# Pausing


@pytest.mark.anyio
async def test_a_paused_run_makes_no_call_and_goes_on_where_it_was() -> None:
    store, stove = await paused(), Stove()
    (await store.arun(resume("exp"))).unwrap()
    handlers = pausing_after(2, store, stove)
    results: list[Result[int, Burnt]] = []

    async def work() -> None:
        results.append(await handlers.arun(three_dishes()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await is_held(store)
        await anyio.sleep(0.1)
        assert stove.made == ["soup", "fish"]
        await store.arun(resume("exp"))
    assert stove.made == ["soup", "fish", "cake"]
    assert [result.unwrap() for result in results] == [3]
    events = (await store.arun(perform(EventStore.query, "exp"))).unwrap()
    [held] = [event for event in events if event.name == RunHeld.NAME]
    [released] = [event for event in events if event.name == RunReleased.NAME]
    assert held.attributes["run_id"] == "run"
    seconds = released.attributes["seconds"]
    assert isinstance(seconds, float)
    assert seconds >= 0.05
    assert (await store.arun(get_experiment("exp"))).unwrap().paused_seconds >= 0.05


@pytest.mark.anyio
async def test_calls_that_wait_together_are_told_of_once() -> None:
    store, stove = await paused(), Stove()
    handlers = cook_under(store, stove, 0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handlers.arun, gather([perform(Cook.make, "soup")] * 4))
        await is_held(store)
        await anyio.sleep(0.05)
        assert stove.made == []
        await store.arun(resume("exp"))
    assert len(stove.made) == 4
    events = (await store.arun(perform(EventStore.query, "exp"))).unwrap()
    assert sum(event.name == RunHeld.NAME for event in events) == 1
    assert sum(event.name == RunReleased.NAME for event in events) == 1


@pytest.mark.anyio
async def test_a_time_limit_ends_the_waiting_and_not_the_pause() -> None:
    store, stove = await paused(), Stove()
    late = timeout(perform(Cook.make, "soup"), seconds=0.05)
    both_late = attempt(late).bind(lambda first: attempt(late))
    with anyio.fail_after(30):
        result = (await cook_under(store, stove, 0.01).arun(both_late)).unwrap()
    assert isinstance(result, Failure)
    assert stove.made == []


@pytest.mark.anyio
async def test_cancelled_from_outside_while_it_waits_it_unwinds_at_once() -> None:
    store, stove = await paused(), Stove()
    (await store.arun(resume("exp"))).unwrap()
    handlers = pausing_after(1, store, stove)
    whole = bracket(
        perform(Cook.make, "soup"),
        lambda number: perform(Cook.make, "fish"),
        lambda number: attempt(perform(Cook.take_back, number)),
    )
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handlers.arun, whole)
            await is_held(store)
            tasks.cancel_scope.cancel()
    assert (stove.made, stove.taken_back) == (["soup"], [1])


# Stopping


def stopped_before(number: int, store: Handlers[EventStore], stove: Stove) -> Handlers[Cook]:
    async def stopping(call: Call, proceed: Proceed) -> Result[object, object]:
        answer = await proceed(call)
        await store.arun(stop("exp"))
        return answer

    cook = meddling(Cook.handled_by(stove), call_number("Cook.make", number), stopping)
    return controlled(cook, "exp", run_id="run", store=store, poll_seconds=0)


def test_a_stopped_run_ends_before_its_next_call_as_a_typed_failure() -> None:
    store, stove = started(noop.events()), Stove()
    eff: Eff[int, Burnt | StoppedByExperiment, Cook] = expecting(three_dishes(), StoppedByExperiment)
    error = stopped_before(2, store, stove).run(eff).failure()
    assert isinstance(error, StoppedByExperiment)
    assert (error.experiment.id, error.call.name) == ("exp", "Cook.make")
    assert str(error).startswith("experiment 'exp' was stopped at 2")
    assert stove.made == ["soup", "fish"]


def test_finalizers_of_a_stopped_run_make_their_calls() -> None:
    store, stove = started(noop.events()), Stove()
    whole = bracket(
        perform(Cook.make, "soup"),
        lambda number: perform(Cook.make, "fish"),
        lambda number: attempt(perform(Cook.take_back, number)),
    )
    with pytest.raises(StoppedByExperiment):
        stopped_before(1, store, stove).run(whole)
    assert (stove.made, stove.taken_back) == (["soup"], [1])


def test_handlers_that_were_stopped_stop_the_next_run_too() -> None:
    store, stove = started(noop.events()), Stove()
    handlers = cook_under(store, stove)
    handlers.run(three_dishes()).unwrap()
    store.run(stop("exp")).unwrap()
    for _ in range(2):
        with pytest.raises(StoppedByExperiment):
            handlers.run(three_dishes())
    assert len(stove.made) == 3


# The store


def test_the_store_is_asked_no_more_often_than_it_is_told() -> None:
    store = started(noop.events())
    for poll_seconds, most in ((60.0, 1), (0.0, 3)):
        asked: list[Call] = []
        counting = meddling(store, lambda call, asked=asked: bool(asked.append(call)), fails_with(None))  # type: ignore[misc]  # append gives None: no call is meddled with
        cook_under(counting, Stove(), poll_seconds).run(three_dishes()).unwrap()
        assert len(asked) == most


@pytest.mark.parametrize("answer", [fails_with(StoreUnavailable(message="down")), raises(OSError("unplugged"))])
def test_a_store_that_fails_does_not_stop_a_run(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    store = started(noop.events())
    broken = meddling(store, lambda call: True, answer)  # type: ignore[arg-type]  # an answer
    assert cook_under(broken, Stove()).run(three_dishes()).unwrap() == 3
    assert "experiment 'exp' cannot be looked at" in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [fails_with(StoreUnavailable(message="down")), raises(OSError("unplugged"))])
async def test_a_store_that_does_not_keep_what_is_told_holds_the_run_all_the_same(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    store, stove = await paused(), Stove()
    deaf = meddling(store, call_number("EventStore.insert"), answer)  # type: ignore[arg-type]  # an answer
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cook_under(deaf, stove, 0.01).arun, three_dishes())
            while "cannot be told RunHeld" not in caplog.text:
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
    assert stove.made == []
    assert "cannot be told RunReleased" in caplog.text


def test_an_experiment_that_is_not_there_is_told_before_the_first_call() -> None:
    stove = Stove()
    with pytest.raises(LookupError, match="experiment 'exp' is not in this store"):
        cook_under(noop.events(), stove).run(three_dishes())
    assert stove.made == []


def test_telemetry_goes_on_while_the_run_waits() -> None:
    store = started(noop.events())
    store.run(pause("exp")).unwrap()
    handlers = controlled(store, "exp", run_id="run", store=store)
    assert len(handlers.run(perform(EventStore.query, "exp")).unwrap()) == 2


# From another process


@contextmanager
def child(folder: Path, num_dishes: int) -> Iterator["subprocess.Popen[str]"]:
    program = CHILD.format(root=str(Path(__file__).parents[3]))
    command = [sys.executable, "-c", program, str(folder), str(num_dishes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def wait_for(store: Handlers[EventStore], name: str) -> None:
    end = time.monotonic() + 20
    while name not in names(store):
        assert time.monotonic() < end, f"{name} never came"
        time.sleep(0.01)


@pytest.mark.slow
def test_another_process_is_paused_and_resumed_and_finishes(tmp_path: Path) -> None:
    store = started(EventStore.handled_by(SqliteEventStore(tmp_path)))
    with child(tmp_path, 120) as process:
        assert lines(process, 2) == ["made dish-0", "made dish-1"]
        store.run(pause("exp")).unwrap()
        wait_for(store, "run.held")
        before = len(told(store, "run"))
        time.sleep(0.3)
        assert len(told(store, "run")) == before, "it made no call and ended no stage"
        store.run(resume("exp")).unwrap()
        assert process.stdout is not None
        rest = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    assert rest[-1] == "finished 120"
    assert rest[:-1] == [f"made dish-{i}" for i in range(2, 120)], "each call was made once"
    found = store.run(get_experiment("exp")).unwrap()
    assert (found.status, found.pause_count, found.run_ids) == ("running", 1, ("run",))
    assert found.paused_seconds >= 0.3
    assert names(store) == ["start", "run.added", "pause", "run.held", "resume", "run.released"]


@pytest.mark.slow
def test_another_process_is_stopped_while_it_waits_and_ends_cleanly(tmp_path: Path) -> None:
    store = started(EventStore.handled_by(SqliteEventStore(tmp_path)))
    with child(tmp_path, 400) as process:
        made = lines(process, 3)
        store.run(pause("exp")).unwrap()
        wait_for(store, "run.held")
        store.run(stop("exp")).unwrap()
        assert process.stdout is not None
        rest = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    made += [line for line in rest if line.startswith("made")]
    taken = [line for line in rest if line.startswith("took back")]
    assert 3 <= len(made) < 400
    assert taken == [f"took back {number}" for number in range(len(made), 0, -1)], "all stages rolled back, last first"
    assert rest[-1].startswith("stopped: experiment 'exp' was stopped at")
    [last] = [event for event in told(store, "run") if event.name == WorkflowFailed.NAME]
    assert "was stopped at" in str(last.attributes["error"]), "what it told was flushed"
    assert isinstance(store.run(add_run("exp", "another")), Failure)
