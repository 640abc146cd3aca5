"""What can be done with an experiment, as effects on the EventStore.

The store keeps the first record of a number and tells who was late, so of two processes that act at once one is first and the other looks
again: no event is lost, and none happens in a state that does not allow it.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from crucible.effects import Do, Eff, Failure, Json, Result, Success, attempt, do, fail, from_result, perform
from crucible.telemetry.errors import CorruptRecord, StoreError, UnknownRun
from crucible.telemetry.experiments.errors import (
    IdTaken,
    LifecycleError,
    SampleComplete,
    UnknownExperiment,
    WrongStatus,
)
from crucible.telemetry.experiments.events import (
    Design,
    ExperimentAnnotated,
    ExperimentEvent,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentStarted,
    ExperimentStopped,
    ExperimentTagged,
    RunAdded,
    attributes_of,
)
from crucible.telemetry.experiments.record import Experiment, Status, experiment_of
from crucible.telemetry.ports import EventStore
from crucible.telemetry.types import EventRecord, RunInfo

Outcome: TypeAlias = Eff[Experiment, StoreError | LifecycleError, EventStore]
"""What every function here makes: the experiment as it is afterwards, or why not."""

Decide: TypeAlias = Callable[[Experiment], Result[ExperimentEvent | None, LifecycleError]]
"""Says what is to happen to an experiment in its present state; None for nothing."""

KIND = {"kind": "experiment"}
"""By what, in the metadata that `list_runs` gives, an experiment is known from a run."""


def is_experiment(run: RunInfo) -> bool:
    """Tell whether what `list_runs` gives is an experiment, not a run.

    >>> is_experiment(RunInfo(run_id="exp", metadata={"kind": "experiment"})), is_experiment(RunInfo(run_id="run"))
    (True, False)
    """
    return run.metadata.get("kind") == KIND["kind"]


def new_experiment_id() -> str:
    """Make up the id of an experiment: when it began, and four random bytes."""
    return f"exp_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


@do
def start_experiment(
    design: Design, *, experiment_id: str | None = None, at: datetime | None = None
) -> Do[StoreError | LifecycleError, EventStore, Experiment]:
    """Start an experiment, under an id that is made up when absent.

    Fails: IdTaken when the store has that id already.
    """
    id_ = new_experiment_id() if experiment_id is None else experiment_id
    start = ExperimentStarted(**{name: getattr(design, name) for name in attributes_of(ExperimentStarted(name="-"))})
    opened = yield from perform(EventStore.open_run, id_, metadata={**KIND, "name": design.name})
    if not (is_experiment(opened) and (yield from inserted(id_, 0, start, at or datetime.now(UTC)))):
        yield from fail(IdTaken(experiment_id=id_))
    return (yield from get_experiment(id_))


@do
def get_experiment(experiment_id: str) -> Do[StoreError | LifecycleError, EventStore, Experiment]:
    """Give an experiment as it is by now."""
    found = yield from attempt(perform(EventStore.query, experiment_id))
    if isinstance(found, Failure) and isinstance(found.failure(), UnknownRun):
        yield from fail(UnknownExperiment(experiment_id=experiment_id))
    records = yield from from_result(found)
    experiment = yield from from_result(_read(experiment_id, records))
    if experiment is None:
        return (yield from fail(UnknownExperiment(experiment_id=experiment_id)))
    return experiment


@do
def list_experiments(
    *, tag: str | None = None, status: Status | None = None
) -> Do[StoreError | LifecycleError, EventStore, tuple[Experiment, ...]]:
    """Give the experiments of the store that have a tag and a status, or all, by the time they were started."""
    runs = yield from perform(EventStore.list_runs)
    found: list[Experiment] = []
    for run in filter(is_experiment, runs):
        experiment = yield from attempt(get_experiment(run.run_id))
        if isinstance(experiment, Failure) and isinstance(experiment.failure(), UnknownExperiment):
            continue  # opened by a process that died before it could start it, or deleted meanwhile
        found.append((yield from from_result(experiment)))
    chosen = [it for it in found if (tag is None or tag in it.tags) and (status is None or it.status == status)]
    return tuple(sorted(chosen, key=lambda it: (it.started_at, it.id)))


def pause(experiment_id: str, *, at: datetime | None = None) -> Outcome:
    """Let the runs of an experiment wait before their next calls (see `kitchen.handlers.experiments.controlled`)."""
    return act(experiment_id, when("pause", ("running",), ExperimentPaused()), at=at)


def resume(experiment_id: str, *, at: datetime | None = None) -> Outcome:
    """Let the runs of a paused experiment go on."""
    return act(experiment_id, when("resume", ("paused",), ExperimentResumed()), at=at)


def stop(experiment_id: str, *, at: datetime | None = None) -> Outcome:
    """Let an experiment, running or paused, take no more runs, and end those that go on."""
    return act(experiment_id, when("stop", ("running", "paused"), ExperimentStopped()), at=at)


def tag(experiment_id: str, *tags: str, remove: tuple[str, ...] = (), at: datetime | None = None) -> Outcome:
    """Put tags on an experiment that is not archived, and take others off."""
    event = ExperimentTagged(added=tags, removed=remove)
    return act(experiment_id, when("tag", ("running", "paused", "stopped"), event), at=at)


def annotate(experiment_id: str, metadata: Mapping[str, Json], *, at: datetime | None = None) -> Outcome:
    """Set metadata of an experiment that is not archived, by key; other keys stay as they are."""
    event = ExperimentAnnotated(metadata=metadata)
    return act(experiment_id, when("annotate", ("running", "paused", "stopped"), event), at=at)


def add_run(experiment_id: str, run_id: str, *, at: datetime | None = None) -> Outcome:
    """Make a run part of a running experiment. A run that is part of it already may be added again, to go on.

    Fails: WrongStatus when the experiment is not running; SampleComplete when it has all its runs.
    """

    def decide(experiment: Experiment) -> Result[ExperimentEvent | None, LifecycleError]:
        added = RunAdded(run_id=run_id)
        known = run_id in experiment.run_ids
        allowed = when("add a run to", ("running", "paused") if known else ("running",), None if known else added)
        size = experiment.sample_size
        if experiment.status == "running" and not known and size is not None and len(experiment.run_ids) >= size:
            return Failure(SampleComplete(experiment_id=experiment.id, sample_size=size))
        return allowed(experiment)

    return act(experiment_id, decide, at=at)


@do
def act(
    experiment_id: str, decide: Decide, *, at: datetime | None = None
) -> Do[StoreError | LifecycleError, EventStore, Experiment]:
    """Let happen to an experiment what `decide` says of its present state; asked again when another process was first."""
    time = at or datetime.now(UTC)
    while True:
        experiment = yield from get_experiment(experiment_id)
        event = yield from from_result(decide(experiment))
        if event is None:
            return experiment
        if (yield from inserted(experiment_id, experiment.next_number, event, time)):
            return (yield from get_experiment(experiment_id))


@do
def inserted(
    experiment_id: str, sequence: int, event: ExperimentEvent, time: datetime
) -> Do[StoreError, EventStore, bool]:
    """Tell whether the event has its number: also where a first attempt had been kept, but its answer was lost."""
    record = EventRecord(name=event.NAME, timestamp=time, attributes=attributes_of(event), sequence=sequence)
    if (yield from perform(EventStore.insert, experiment_id, [record])):
        return True
    there = yield from perform(EventStore.query, experiment_id)
    return record in there


def _read(experiment_id: str, records: tuple[EventRecord, ...]) -> Result[Experiment | None, StoreError]:
    try:
        return Success(experiment_of(experiment_id, records))
    except (TypeError, ValueError) as error:
        message = f"no event of an experiment can be read from it ({error})"
        return Failure(CorruptRecord(path=experiment_id, line=len(records), message=message))


_FIXES: Mapping[tuple[str, Status], str] = {
    ("pause", "paused"): "resume it, or let it wait",
    ("resume", "running"): "it goes on already",
    ("stop", "stopped"): "archive it, or leave it",
    ("archive", "running"): "stop it first",
    ("archive", "paused"): "stop it first",
    ("add a run to", "paused"): "resume it first",
}


def when(action: str, statuses: tuple[Status, ...], event: ExperimentEvent | None) -> Decide:
    """Decide for an event in some states, and for an error that says what to do in the others."""

    def decide(experiment: Experiment) -> Result[ExperimentEvent | None, LifecycleError]:
        status = experiment.status
        if status in statuses:
            return Success(event)
        gone = f"read it from {experiment.archive} (read_archive)" if status == "archived" else "start another"
        fix = _FIXES.get((action, status), gone)
        return Failure(WrongStatus(experiment_id=experiment.id, action=action, status=status, fix=fix))

    return decide
