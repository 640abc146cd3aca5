"""A glance at a run: how it stands and one metric, without reading the rest of a long night."""

from crucible.effects import Failure, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import RunOpened, WorkflowFailed, WorkflowStarted, WorkflowStopped
from crucible.telemetry.loading._finding import RunPlace
from crucible.telemetry.loading._loading import LoadedRun, NotLoaded, load_run, stores_of
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint, RunInfo

_TELLING = (RunOpened.NAME, WorkflowStarted.NAME, WorkflowStopped.NAME, WorkflowFailed.NAME)
_NEWEST = 8
"""Events at the end that tell when the run was last heard of."""
_SHOWN = ("loss", "reward_mean", "margin", "teacher_kl")


async def glance(place: RunPlace) -> Result[LoadedRun, NotLoaded]:
    """Read how a run began and ended, what it told last, and the points of the metric that says most.

    A run in JSON lines, which are read as a whole anyway, is read as a whole.
    """
    if place.format == "jsonl":
        return await load_run(place)
    events, metrics = stores_of(place)
    told: dict[int, EventRecord] = {}
    for wanted in (*(EventFilter(name=name) for name in _TELLING), EventFilter(last=_NEWEST)):
        found = await events.query(place.run_id, wanted)
        if isinstance(found, Failure):
            return Failure(found.failure())
        told |= {event.sequence: event for event in found.unwrap()}
    names = (await metrics.list_metrics(place.run_id)).value_or(())
    nothing: Result[tuple[MetricPoint, ...], StoreError] = Success(())
    points = await metrics.read(place.run_id, name=telling_metric(names)) if names else nothing
    about = (await events.find_run(place.run_id)).map(lambda info: info or RunInfo(run_id=place.run_id))
    return about.bind(
        lambda info: points.map(lambda found: LoadedRun(info=info, events=tuple(told.values()), points=found))
    )


def telling_metric(names: tuple[str, ...]) -> str:
    """Choose the metric that says most of a run.

    >>> telling_metric(("eval/accuracy", "grad_norm", "loss")), telling_metric(("rl/entropy", "rl/reward_mean"))
    ('loss', 'rl/reward_mean')
    >>> telling_metric(("a", "b"))
    'a'
    """
    ordered = sorted(names, key=lambda name: (len(name), name))
    fitting = (name for word in _SHOWN for name in ordered if name.rpartition("/")[2] == word)
    return next(fitting, names[0])
