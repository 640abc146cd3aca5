"""`Experiment`: what an experiment is by now, derived from what happened to it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from crucible.telemetry.experiments.events import (
    Design,
    ExperimentAnnotated,
    ExperimentArchived,
    ExperimentEvent,
    ExperimentPaused,
    ExperimentResumed,
    ExperimentStarted,
    ExperimentStopped,
    ExperimentTagged,
    RunAdded,
    event_of,
)
from crucible.telemetry.types import EventRecord

Status: TypeAlias = Literal["running", "paused", "stopped", "archived"]


@attrs.frozen(kw_only=True)
class Experiment(Design):
    """An experiment as it is by now.

    Args:
        id: under which the store has it.
        status: `running` experiments take runs, and the runs of a `paused` one wait before their next calls.
        run_ids: its runs, in the order in which they were added.
        started_at, paused_at, stopped_at, archived_at: when; None where it did not happen, or is over (a pause).
        pause_count: how often it was paused.
        paused_seconds: how long the pauses that are over took, together.
        archive: the folder it was written to.
        next_number: that of the next event.
    """

    id: str
    status: Status = "running"
    run_ids: tuple[str, ...] = ()
    started_at: datetime
    paused_at: datetime | None = None
    stopped_at: datetime | None = None
    archived_at: datetime | None = None
    pause_count: int = 0
    paused_seconds: float = 0.0
    archive: str | None = None
    next_number: int = 1

    def paused_seconds_at(self, now: datetime) -> float:
        """Give how long it was paused until `now`, a pause that goes on included."""
        return self.paused_seconds + _seconds(self.paused_at, now)


def experiment_of(experiment_id: str, records: Sequence[EventRecord]) -> Experiment | None:
    """Derive an experiment from what the store has under its id; None where that is no experiment.

    Raises: TypeError or ValueError for an event that cannot be read.

    >>> from datetime import UTC, datetime, timedelta
    >>> start = datetime(2026, 1, 1, tzinfo=UTC)
    >>> happened = [(0, ExperimentStarted.NAME), (60, ExperimentPaused.NAME), (90, ExperimentResumed.NAME)]
    >>> found = experiment_of(
    ...     "exp",
    ...     [
    ...         EventRecord(
    ...             name=name, timestamp=start + timedelta(seconds=second), sequence=i, attributes={"name": "lr"}
    ...         )
    ...         for i, (second, name) in enumerate(happened)
    ...     ],
    ... )
    >>> found.name, found.status, found.pause_count, found.paused_seconds
    ('lr', 'running', 1, 30.0)
    """
    experiment: Experiment | None = None
    for record in sorted(records, key=lambda record: record.sequence):
        event = event_of(record)
        if isinstance(event, ExperimentStarted):
            fields = {field.name: getattr(event, field.name) for field in attrs.fields(Design)}
            experiment = experiment or Experiment(id=experiment_id, started_at=record.timestamp, **fields)
        elif event is not None and experiment is not None:
            experiment = after(experiment, event, record.timestamp)
    if experiment is None:
        return None
    return attrs.evolve(experiment, next_number=1 + max(record.sequence for record in records))


def after(experiment: Experiment, event: ExperimentEvent, time: datetime) -> Experiment:
    """Give what an experiment is after an event."""
    match event:
        case ExperimentTagged():
            kept = [tag for tag in (*experiment.tags, *event.added) if tag not in event.removed]
            return attrs.evolve(experiment, tags=tuple(dict.fromkeys(kept)))
        case ExperimentAnnotated():
            return attrs.evolve(experiment, metadata={**experiment.metadata, **event.metadata})
        case RunAdded():
            return attrs.evolve(experiment, run_ids=tuple(dict.fromkeys((*experiment.run_ids, event.run_id))))
        case ExperimentArchived():
            return attrs.evolve(experiment, status="archived", archived_at=time, archive=event.folder)
        case _:
            return _in_another_status(experiment, event, time)


def _in_another_status(experiment: Experiment, event: ExperimentEvent, time: datetime) -> Experiment:
    match event:
        case ExperimentPaused():
            return attrs.evolve(experiment, status="paused", paused_at=time, pause_count=experiment.pause_count + 1)
        case ExperimentResumed():
            return attrs.evolve(_no_longer_paused(experiment, time), status="running")
        case ExperimentStopped():
            return attrs.evolve(_no_longer_paused(experiment, time), status="stopped", stopped_at=time)
        case _:
            return experiment


def _no_longer_paused(experiment: Experiment, time: datetime) -> Experiment:
    return attrs.evolve(experiment, paused_at=None, paused_seconds=experiment.paused_seconds_at(time))


def _seconds(since: datetime | None, now: datetime) -> float:
    """Give how long it has been; clocks of two machines may differ, and no time is less than none."""
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
