"""The contract of `EventStore`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from crucible.effects import Do, Handlers, Json, do, perform
from crucible.telemetry.errors import InvalidRecord, StoreError, UnknownRun
from crucible.telemetry.ports import EventStore
from crucible.telemetry.types import EventFilter, EventRecord, RunInfo
from crucible.testing._laws import obey, refused, require, require_equal

Law: TypeAlias = Do[StoreError, EventStore, None]

START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def check_event_store(make: Callable[[], Handlers[EventStore]], *, run_id: str = "contract") -> None:
    """Put the handlers that `make` gives through the contract of `EventStore`.

    Args:
        make: gives handlers over an empty store; it is called once for each law.
        run_id: of a run that the store does not have yet.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "what is inserted is found, in order of sequence": _reading(run_id),
        "events are found by name, time and attributes": _choosing(run_id),
        "inserting again doubles nothing, and the first stands": _repeating(run_id),
        "attributes come back as they were": _payloads(run_id),
        "a run is what it was when first opened": _opening(run_id),
        "runs are apart, and can be deleted": _runs(run_id),
        "a run that was not opened is unknown": _unknown(run_id),
    }
    obey(make, laws)


def event(sequence: int, *, name: str = "step", **attributes: Json) -> EventRecord:
    """Make an event whose timestamp follows from its sequence number."""
    return EventRecord(
        name=name, timestamp=START + timedelta(seconds=sequence), attributes=attributes, sequence=sequence
    )


@do
def _reading(run_id: str) -> Law:
    yield from perform(EventStore.open_run, run_id)
    require_equal((yield from perform(EventStore.query, run_id)), (), "the events of a new run")
    events = tuple(event(sequence, epoch=sequence) for sequence in range(4))
    require_equal((yield from perform(EventStore.insert, run_id, events[2:])), 2, "the number of new events")
    require_equal((yield from perform(EventStore.insert, run_id, events[:2])), 2, "the number of new events")
    require_equal((yield from perform(EventStore.insert, run_id, ())), 0, "the number of new events of no batch")
    require_equal((yield from perform(EventStore.query, run_id)), events, "all events")


@do
def _choosing(run_id: str) -> Law:
    names = ("start", "step", "step", "step", "stop")
    events = tuple(event(i, name=name, even=i % 2 == 0, place=i) for i, name in enumerate(names))
    yield from perform(EventStore.open_run, run_id)
    yield from perform(EventStore.insert, run_id, events)
    second = timedelta(seconds=1)
    wanted = {
        EventFilter(name="step"): events[1:4],
        EventFilter(since=START + second, until=START + 3 * second): events[1:4],
        EventFilter(since=START + 5 * second): (),
        EventFilter(attributes={"even": True}): events[::2],
        EventFilter(attributes={"even": True, "place": 2}, name="step"): (events[2],),
        EventFilter(attributes={"even": 1}): (),
        EventFilter(attributes={"absent": None}): (),
        EventFilter(last=2): events[3:],
        EventFilter(name="step", last=2): events[2:4],
        EventFilter(last=0): (),
        EventFilter(last=99): events,
    }
    for wish, expected in wanted.items():
        require_equal((yield from perform(EventStore.query, run_id, wish)), expected, f"what fits {wish}")


@do
def _repeating(run_id: str) -> Law:
    events = tuple(event(sequence) for sequence in range(3))
    yield from perform(EventStore.open_run, run_id)
    yield from perform(EventStore.insert, run_id, events[:2])
    require_equal((yield from perform(EventStore.insert, run_id, events)), 1, "the number of new events")
    require_equal(
        (yield from perform(EventStore.insert, run_id, [event(0, name="other")])), 0, "the number of new events"
    )
    require_equal((yield from perform(EventStore.query, run_id)), events, "all events")


@do
def _payloads(run_id: str) -> Law:
    nested: Json = {"$tuple": [1], "list": [1, 1.0, True, None, -0.0, math.nan, -math.inf], "text": "é\u2028\n"}
    odd = event(7, name='a "b"\n', nested=nested, loss=math.nan)
    yield from perform(EventStore.open_run, run_id, metadata={"about": nested})
    yield from perform(EventStore.insert, run_id, [odd])
    found = yield from perform(EventStore.query, run_id, EventFilter(attributes={"loss": math.nan}))
    require_equal(found, (odd,), "the event with odd attributes")
    [run] = yield from perform(EventStore.list_runs)
    require_equal(run, RunInfo(run_id=run_id, metadata={"about": nested}), "the run")


@do
def _opening(run_id: str) -> Law:
    first = yield from perform(EventStore.open_run, run_id, metadata={"recipe": "sft"})
    require_equal(first, RunInfo(run_id=run_id, metadata={"recipe": "sft"}), "the opened run")
    yield from perform(EventStore.insert, run_id, [event(0)])
    require_equal((yield from perform(EventStore.open_run, run_id, metadata={})), first, "the run opened again")
    require_equal((yield from perform(EventStore.query, run_id)), (event(0),), "its events")


@do
def _runs(run_id: str) -> Law:
    names = sorted((run_id, f"{run_id}/../{run_id}", f"{run_id} b", f"{run_id}.events"))
    for index, name in enumerate(names):
        yield from perform(EventStore.open_run, name)
        yield from perform(EventStore.insert, name, [event(0, index=index)])
    found = yield from perform(EventStore.list_runs)
    require_equal([run.run_id for run in found], names, "the runs")
    for _ in range(2):
        yield from perform(EventStore.delete_run, run_id)
    for index, name in enumerate(names):
        if name != run_id:
            require_equal((yield from perform(EventStore.query, name)), (event(0, index=index),), f"run {name!r}")
    yield from refused("querying a deleted run", perform(EventStore.query, run_id), UnknownRun)
    yield from perform(EventStore.open_run, run_id)
    require_equal((yield from perform(EventStore.query, run_id)), (), "the events of a run opened anew")
    require_equal((yield from perform(EventStore.insert, run_id, [event(0)])), 1, "the number of new events")


@do
def _unknown(run_id: str) -> Law:
    yield from refused("inserting into an unknown run", perform(EventStore.insert, run_id, [event(0)]), UnknownRun)
    yield from refused("querying an unknown run", perform(EventStore.query, run_id), UnknownRun)
    yield from refused("a run without a name", perform(EventStore.open_run, ""), InvalidRecord)
    runs = yield from perform(EventStore.list_runs)
    require(runs == (), f"asking made runs: {runs}")
