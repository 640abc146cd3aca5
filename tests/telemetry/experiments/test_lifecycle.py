"""Experiments: what may follow on what, in every store, and when two processes act at once."""

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Failure, Handlers, Result, Success, perform
from crucible.kitchen.provenance import surroundings
from crucible.telemetry.errors import CorruptRecord, InvalidRecord, StoreUnavailable
from crucible.telemetry.experiments import (
    Design,
    Experiment,
    ExperimentStarted,
    IdTaken,
    SampleComplete,
    Status,
    UnknownExperiment,
    WrongStatus,
    add_run,
    annotate,
    get_experiment,
    is_experiment,
    list_experiments,
    new_experiment_id,
    pause,
    resume,
    start_experiment,
    stop,
    tag,
)
from crucible.telemetry.experiments.lifecycle import Outcome
from crucible.telemetry.ports import EventStore
from crucible.telemetry.stores import InMemoryEventStore, JsonlEventStore, SqliteEventStore
from crucible.telemetry.types import EventRecord
from tests.kitchen.fakes import call_number, fails_with, meddling
from tests.telemetry.test_stores import json_values

A = TypeVar("A")
E = TypeVar("E")

START = datetime(2026, 1, 1, tzinfo=UTC)
DESIGN = Design(name="learning rate", hypothesis="1e-4 is better", sample_size=2, seed=7, tags=("night",))


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def in_memory() -> Handlers[EventStore]:
    return EventStore.handled_by(InMemoryEventStore())


def on_jsonl() -> Handlers[EventStore]:
    return EventStore.handled_by(JsonlEventStore(tempfile.mkdtemp()))


def on_sqlite() -> Handlers[EventStore]:
    return EventStore.handled_by(SqliteEventStore(tempfile.mkdtemp()))


def started(store: Handlers[EventStore], design: Design = DESIGN) -> Experiment:
    return store.run(start_experiment(design, experiment_id="exp", at=START)).unwrap()


every_store = pytest.mark.parametrize("make", [in_memory, on_jsonl, on_sqlite])


@every_store
def test_a_life(make: Callable[[], Handlers[EventStore]]) -> None:
    store = make()
    first = started(store)
    assert (first.status, first.name, first.seed, first.tags) == ("running", "learning rate", 7, ("night",))
    for eff in (
        add_run("exp", "run-1", at=after(1)),
        pause("exp", at=after(10)),
        resume("exp", at=after(40)),
        tag("exp", "kept", "night", remove=("old",), at=after(41)),
        annotate("exp", {"note": "fine", "best": float("inf")}, at=after(42)),
        pause("exp", at=after(50)),
    ):
        store.run(eff).unwrap()
    paused = store.run(get_experiment("exp")).unwrap()
    assert (paused.status, paused.paused_at, paused.paused_seconds) == ("paused", after(50), 30.0)
    assert paused.paused_seconds_at(after(55)) == 35.0
    last = store.run(stop("exp", at=after(60))).unwrap()
    assert last == store.run(get_experiment("exp")).unwrap()
    assert (last.status, last.stopped_at, last.paused_at) == ("stopped", after(60), None)
    assert (last.pause_count, last.paused_seconds, last.run_ids) == (2, 40.0, ("run-1",))
    assert last.tags == ("night", "kept")
    assert last.metadata == {"note": "fine", "best": float("inf")}
    assert last.next_number == 8


@every_store
def test_what_was_given_at_the_start_comes_back(make: Callable[[], Handlers[EventStore]]) -> None:
    design = Design(name="x", condition="treated", metadata={"deep": [1, None]}, environment=surroundings())
    found = started(make(), design)
    assert {name: getattr(found, name) for name in ("name", "condition", "metadata", "environment")} == {
        "name": "x",
        "condition": "treated",
        "metadata": {"deep": [1, None]},
        "environment": surroundings(),
    }
    git = surroundings()["git"]
    assert found.git_revision == (git["revision"] if isinstance(git, dict) else None)
    assert Design(name="x").git_revision is None


def test_it_survives_its_process(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        store = EventStore.handled_by(SqliteEventStore(tmp_path))
        started(store)
        store.run(pause("exp", at=after(1))).unwrap()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    found = EventStore.handled_by(SqliteEventStore(tmp_path)).run(get_experiment("exp")).unwrap()
    assert (found.status, found.paused_at) == ("paused", after(1))


# What it refuses


ACTIONS: dict[str, Callable[[], Outcome]] = {
    "pause": lambda: pause("exp"),
    "resume": lambda: resume("exp"),
    "stop": lambda: stop("exp"),
    "tag": lambda: tag("exp", "x"),
    "annotate": lambda: annotate("exp", {"x": 1}),
    "add a run to": lambda: add_run("exp", "another"),
}
ALLOWED: dict[Status, set[str]] = {
    "running": {"pause", "stop", "tag", "annotate", "add a run to"},
    "paused": {"resume", "stop", "tag", "annotate"},
    "stopped": {"tag", "annotate"},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", ALLOWED)
def test_an_action_is_done_or_refused_by_the_status(status: Status, action: str) -> None:
    store = in_memory()
    started(store)
    if status != "running":
        store.run(pause("exp") if status == "paused" else stop("exp")).unwrap()
    before = store.run(get_experiment("exp")).unwrap()
    result = store.run(ACTIONS[action]())
    if action in ALLOWED[status]:
        assert result.unwrap() == store.run(get_experiment("exp")).unwrap() != before
        return
    error = result.failure()
    assert isinstance(error, WrongStatus)
    assert (error.experiment_id, error.action, error.status) == ("exp", action, status)
    assert f"cannot {action} experiment 'exp', it is {status}: " in str(error)
    assert store.run(get_experiment("exp")).unwrap() == before


def test_a_refusal_says_what_to_do() -> None:
    store = in_memory()
    started(store)
    store.run(pause("exp")).unwrap()
    assert str(store.run(pause("exp")).failure()) == (
        "cannot pause experiment 'exp', it is paused: resume it, or let it wait"
    )
    assert str(store.run(add_run("exp", "r")).failure()).endswith("it is paused: resume it first")
    store.run(stop("exp")).unwrap()
    assert str(store.run(resume("exp")).failure()).endswith("it is stopped: start another")


def test_the_sample_size_ends_the_sample() -> None:
    store = in_memory()
    started(store)
    for run_id in ("run-1", "run-2", "run-1"):
        store.run(add_run("exp", run_id)).unwrap()
    assert store.run(add_run("exp", "run-3")) == Failure(SampleComplete(experiment_id="exp", sample_size=2))
    assert "has its 2 runs: stop it" in str(store.run(add_run("exp", "run-3")).failure())
    assert store.run(add_run("exp", "run-2")).unwrap().run_ids == ("run-1", "run-2")


def test_a_run_that_is_part_of_it_may_go_on_while_it_is_paused_but_not_when_it_is_stopped() -> None:
    store = in_memory()
    started(store)
    store.run(add_run("exp", "run-1")).unwrap()
    store.run(pause("exp")).unwrap()
    assert store.run(add_run("exp", "run-1")).unwrap().status == "paused"
    store.run(stop("exp")).unwrap()
    assert isinstance(store.run(add_run("exp", "run-1")).failure(), WrongStatus)


@every_store
def test_an_id_is_used_once(make: Callable[[], Handlers[EventStore]]) -> None:
    store = make()
    started(store)
    again = store.run(start_experiment(Design(name="other"), experiment_id="exp"))
    assert again == Failure(IdTaken(experiment_id="exp"))
    assert "under another id" in str(again.failure())
    store.run(perform(EventStore.open_run, "run")).unwrap()
    assert store.run(start_experiment(Design(name="other"), experiment_id="run")) == Failure(
        IdTaken(experiment_id="run")
    )
    assert store.run(get_experiment("exp")).unwrap().name == "learning rate"


@every_store
def test_what_is_no_experiment_is_unknown(make: Callable[[], Handlers[EventStore]]) -> None:
    store = make()
    store.run(perform(EventStore.open_run, "run")).unwrap()
    for id_ in ("run", "nothing"):
        assert store.run(get_experiment(id_)) == Failure(UnknownExperiment(experiment_id=id_))
        assert store.run(pause(id_)) == Failure(UnknownExperiment(experiment_id=id_))
    assert "list_experiments" in str(UnknownExperiment(experiment_id="run"))


def test_impossible_designs_are_refused_before_anything_is_stored() -> None:
    with pytest.raises(ValueError, match="name"):
        Design(name="")
    with pytest.raises(ValueError, match="sample_size"):
        Design(name="x", sample_size=0)
    store = on_sqlite()
    bad = Design(name="x", metadata={"what": object()})  # type: ignore[dict-item]  # an object is no JSON
    assert isinstance(store.run(start_experiment(bad, experiment_id="exp")).failure(), InvalidRecord)


def test_an_event_that_cannot_be_read_is_told() -> None:
    store = in_memory()
    store.run(perform(EventStore.open_run, "exp", metadata={"kind": "experiment"})).unwrap()
    event = EventRecord(name=ExperimentStarted.NAME, timestamp=START, attributes={"name": "x", "tags": 5}, sequence=0)
    store.run(perform(EventStore.insert, "exp", [event])).unwrap()
    error = store.run(get_experiment("exp")).failure()
    assert isinstance(error, CorruptRecord)
    assert "5 is no list of texts" in str(error)


def test_attributes_and_events_of_a_newer_version_are_passed_over() -> None:
    store = in_memory()
    store.run(perform(EventStore.open_run, "exp", metadata={"kind": "experiment"})).unwrap()
    newer = {"name": "x", "mood": "good"}
    store.run(
        perform(
            EventStore.insert,
            "exp",
            [
                EventRecord(name=ExperimentStarted.NAME, timestamp=START, attributes=newer, sequence=0),
                EventRecord(name="crucible_kitchen.experiment.celebrated", timestamp=START, sequence=1),
            ],
        )
    ).unwrap()
    assert store.run(pause("exp")).unwrap().status == "paused"


# Which there are


def test_experiments_are_listed_by_tag_and_status_and_told_from_runs() -> None:
    store = in_memory()
    for i, tags in enumerate([("night",), ("night", "best"), ()]):
        design = Design(name="x", tags=tags)
        store.run(start_experiment(design, experiment_id=f"exp-{3 - i}", at=after(i))).unwrap()
    store.run(pause("exp-2")).unwrap()
    store.run(perform(EventStore.open_run, "run", metadata={"experiment": "exp-1"})).unwrap()
    store.run(perform(EventStore.open_run, "died", metadata={"kind": "experiment"})).unwrap()

    def ids(eff: Eff[tuple[Experiment, ...], E, EventStore]) -> list[str]:
        return [it.id for it in store.run(eff).unwrap()]

    assert ids(list_experiments()) == ["exp-3", "exp-2", "exp-1"]
    assert ids(list_experiments(tag="night")) == ["exp-3", "exp-2"]
    assert ids(list_experiments(tag="night", status="running")) == ["exp-3"]
    assert ids(list_experiments(status="archived")) == []
    runs = store.run(perform(EventStore.list_runs)).unwrap()
    assert [run.run_id for run in runs if not is_experiment(run)] == ["run"]


def test_ids_are_made_up_and_differ() -> None:
    store = in_memory()
    first, second = (store.run(start_experiment(DESIGN)).unwrap() for _ in range(2))
    assert first.id != second.id
    assert new_experiment_id().startswith("exp_")


def test_a_store_that_fails_is_the_error() -> None:
    down = StoreUnavailable(message="the store is down")
    for operation in ("EventStore.query", "EventStore.open_run", "EventStore.insert"):
        store = meddling(in_memory(), call_number(operation), fails_with(down))
        assert store.run(start_experiment(DESIGN, experiment_id="exp")) == Failure(down)
    store = in_memory()
    started(store)
    assert meddling(store, call_number("EventStore.query"), fails_with(down)).run(list_experiments()) == Failure(down)


# Two at once


def test_what_was_kept_though_its_answer_was_lost_is_done_once() -> None:
    store = in_memory()
    started(store)

    async def keep_and_say_late(call: object, proceed: Callable[[object], object]) -> Result[int, StoreUnavailable]:
        await proceed(call)  # type: ignore[misc]  # a call of the insertion
        return Success(0)

    retried = meddling(store, call_number("EventStore.insert"), keep_and_say_late)  # type: ignore[arg-type]  # narrower
    assert retried.run(pause("exp")).unwrap().pause_count == 1


@pytest.mark.parametrize("kind", [SqliteEventStore, JsonlEventStore])
def test_of_several_processes_that_add_runs_as_many_succeed_as_the_sample_takes(
    kind: type[SqliteEventStore] | type[JsonlEventStore], tmp_path: Path
) -> None:
    started(EventStore.handled_by(kind(tmp_path)), Design(name="x", sample_size=9))
    children = []
    for process in range(3):
        child = os.fork()
        if child == 0:
            store = EventStore.handled_by(kind(tmp_path))
            results = [store.run(add_run("exp", f"{process}-{i}")) for i in range(5)]
            os._exit(sum(isinstance(result, Success) for result in results))
        children.append(child)
    won = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    found = EventStore.handled_by(kind(tmp_path)).run(get_experiment("exp")).unwrap()
    assert sum(won) == len(found.run_ids) == 9


def test_of_two_processes_that_pause_at_once_one_is_told_that_it_is_paused(tmp_path: Path) -> None:
    started(EventStore.handled_by(SqliteEventStore(tmp_path)))
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            result = EventStore.handled_by(SqliteEventStore(tmp_path)).run(pause("exp"))
            os._exit(0 if isinstance(result, Success) else int(isinstance(result.failure(), WrongStatus)))
        children.append(child)
    assert sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) == [0, 1, 1]
    assert EventStore.handled_by(SqliteEventStore(tmp_path)).run(get_experiment("exp")).unwrap().pause_count == 1


# Laws


actions: st.SearchStrategy[list[tuple[str, int]]] = st.lists(
    st.tuples(st.sampled_from(["pause", "resume", "stop", "tag", "run"]), st.integers(0, 100)), max_size=12
)


@given(actions)
@settings(max_examples=60)
def test_a_record_is_what_a_simple_model_says(steps: list[tuple[str, int]]) -> None:
    store = in_memory()
    started(store, Design(name="x"))
    status, seconds, paused, since, runs, tags = "running", 0, 0, 0, set[str](), set[str]()
    for action, value in steps:
        seconds += value
        at = after(seconds)
        effs: dict[str, Outcome] = {
            "pause": pause("exp", at=at),
            "resume": resume("exp", at=at),
            "stop": stop("exp", at=at),
            "tag": tag("exp", f"t{value}", at=at),
            "run": add_run("exp", f"r{value}", at=at),
        }
        done = isinstance(store.run(effs[action]), Success)
        expected = {
            "pause": status == "running",
            "resume": status == "paused",
            "stop": status != "stopped",
            "tag": True,
            "run": status == "running" or (status == "paused" and f"r{value}" in runs),
        }[action]
        assert done == expected
        if not done:
            continue
        if action in {"resume", "stop"} and status == "paused":
            paused += seconds - since
        if action == "pause":
            since = seconds
        status = {"pause": "paused", "resume": "running", "stop": "stopped"}.get(action, status)
        runs |= {f"r{value}"} if action == "run" else set()
        tags |= {f"t{value}"} if action == "tag" else set()
    found = store.run(get_experiment("exp")).unwrap()
    assert (found.status, found.paused_seconds) == (status, paused)
    assert (set(found.run_ids), set(found.tags)) == (runs, tags)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
@settings(max_examples=40)
def test_metadata_come_back_bit_for_bit(metadata: dict[str, object]) -> None:
    design = Design(name="x", metadata=metadata)  # type: ignore[arg-type]  # JSON, drawn
    assert Design(name="x", metadata=started(on_jsonl(), design).metadata) == design
