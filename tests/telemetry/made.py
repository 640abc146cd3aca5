"""Runs for tests of what looks at runs: real ones on handlers that need nothing, long ones, hostile ones."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from crucible.effects import Json
from crucible.kitchen import Recipe, run
from crucible.kitchen.config import problems_of
from crucible.kitchen.workflows import supervised
from crucible.telemetry.events import (
    EffectPerformed,
    RunOpened,
    SampleShown,
    StageFailed,
    StageStarted,
    StageStopped,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowStopped,
)
from crucible.telemetry.loading import LoadedRun
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo
from tests.kitchen.workflows.small import BASE, HELD_OUT, handlers_of

START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "{{ 7 * 191 }}{% raw %}",
    '"><svg onload="window.hacked = 1">',
    "https://example.invalid/x.png",
    "W" * 5000,
    "\u202e\x1b[31mred\x00",
)


def at(seconds: float) -> datetime:
    """Give the time so many seconds after the start."""
    return START + timedelta(seconds=seconds)


def event(
    sequence: int, name: str, path: str = "sft", *, second: float | None = None, **attributes: Json
) -> EventRecord:
    """Make an event, by default in the second of its number."""
    time = at(sequence if second is None else second)
    return EventRecord(name=name, timestamp=time, attributes={"path": path, **attributes}, sequence=sequence)


def points(name: str, values: Sequence[float], *, first: int = 0, step: int = 1) -> list[MetricPoint]:
    """Make the points of a metric, one a step; numbers count on from `first`."""
    return [
        MetricPoint(name=name, value=value, step=index * step, timestamp=at(index), sequence=first + index)
        for index, value in enumerate(values)
    ]


def effect(sequence: int, path: str, name: str, seconds: float, *, error: str | None = None) -> EventRecord:
    """Make the event of a call that ended in the second of its number."""
    return event(sequence, EffectPerformed.NAME, path, effect=name, seconds=seconds, error=error)


def loaded(
    events: Sequence[EventRecord] = (),
    told: Sequence[MetricPoint] = (),
    *,
    run_id: str = "evening",
    config: Json = None,
    about: Mapping[str, Json] | None = None,
) -> LoadedRun:
    """Make a run as it is read."""
    metadata = {**(about or {}), **({} if config is None else {"config": config})}
    return LoadedRun(info=RunInfo(run_id=run_id, metadata=metadata), events=tuple(events), points=tuple(told))


COMPLETED = (
    event(0, RunOpened.NAME, ""),
    event(1, WorkflowStarted.NAME),
    event(2, StageStarted.NAME, "sft/load", stage="load"),
    event(3, StageStopped.NAME, "sft/load", stage="load"),
    event(4, WorkflowStopped.NAME),
)
FAILED = (
    *COMPLETED[:3],
    event(3, StageFailed.NAME, "sft/load", stage="load", error="no rows"),
    event(4, StageFailed.NAME, "sft/undo", stage="rollback", error="nothing to undo"),
    event(5, WorkflowFailed.NAME, error="no rows in 'talk'"),
)
UNENDED = COMPLETED[:3]


def train(folder: Path, run_id: str, *, seed: int = 0, learning_rate: float = 1e-2) -> None:
    """Train on nothing, with telemetry in SQLite below `folder/run_id`."""
    config = attrs.evolve(
        BASE, epochs=2, batch_size=2, seed=seed, learning_rate=learning_rate, eval_every=2, evaluation=HELD_OUT
    )
    recipe = Recipe(
        name="talk", description="A talk.", workflow=supervised, default_config=config, validate_config=problems_of
    )
    handlers = (
        handlers_of()
        | MetricsStore.handled_by(SqliteMetricsStore(folder / run_id))
        | EventStore.handled_by(SqliteEventStore(folder / run_id))
    )
    run(recipe, handlers, run_id=run_id).unwrap()


def long_run(num_steps: int, *, run_id: str = "long") -> LoadedRun:
    """Make a run of many steps: four metrics, five stages and three calls a step."""
    events = [event(0, RunOpened.NAME, "", second=0), event(1, WorkflowStarted.NAME, second=0)]
    told: list[MetricPoint] = []
    for step in range(num_steps):
        path, time = f"sft/epochs[0]/batches[{step}]", float(step)
        for place, name in enumerate(("get_batch", "forward_backward", "optim_step")):
            inside = f"{path}/{name}"
            begun, ended = time + place * 0.2, time + place * 0.2 + 0.1
            events += [
                event(len(events), StageStarted.NAME, inside, second=begun, stage=name),
                event(
                    len(events) + 1,
                    EffectPerformed.NAME,
                    inside,
                    second=ended,
                    effect=f"TrainingClient.{name}",
                    seconds=0.1,
                ),
                event(len(events) + 2, StageStopped.NAME, inside, second=ended, stage=name),
            ]
        for name, value in (("loss", 3 / (1 + step / 500)), ("grad_norm", 1.0 + step % 7), ("learning_rate", 1e-3)):
            told.append(MetricPoint(name=name, value=value, step=step, timestamp=at(step), sequence=len(told)))
    events.append(event(len(events), WorkflowStopped.NAME, second=num_steps))
    return loaded(events, told, run_id=run_id)


def hostile_run() -> LoadedRun:
    """Make a run all of whose texts try to be more than texts."""
    events = list(FAILED[:3])
    told: list[MetricPoint] = []
    config: dict[str, Json] = {}
    for text in HOSTILE:
        events.append(event(len(events), SampleShown.NAME, step=1, prompt=text, answer=text, expected=text))
        events.append(effect(len(events), f"sft/{text}", text, 0.5, error=text))
        events.append(event(len(events), StageFailed.NAME, f"sft/{text}", stage=text, error=text))
        told += points(text, [1.0, float("nan"), 3.0], first=len(told))
        config[text] = text
    events.append(event(len(events), WorkflowFailed.NAME, error=HOSTILE[0]))
    return loaded(events, told, run_id=HOSTILE[0], config=config, about={"recipe": HOSTILE[1]})
