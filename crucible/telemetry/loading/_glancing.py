"""A glance at a run: how it stands and one metric, without reading the rest of a long night."""

from crucible.effects import Failure, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import RunOpened, WorkflowFailed, WorkflowStarted, WorkflowStopped
from crucible.telemetry.loading._finding import RunPlace
from crucible.telemetry.loading._loading import LoadedRun, NotLoaded, load_run, stores_of
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint, RunInfo

_TELLING = (RunOpened.NAME, WorkflowStarted.NAME, WorkflowStopped.NAME, WorkflowFailed.NAME)
_SHOWN = ("loss", "reward_mean", "margin", "teacher_kl")


async def glance(place: RunPlace) -> Result[LoadedRun, NotLoaded]:
    """Read how a run began and ended, and the points of the metric that says most.

    A run in JSON lines, which are read as a whole anyway, is read as a whole.
    """
    if place.format == "jsonl":
        return await load_run(place)
    events, metrics = stores_of(place)
    told: dict[int, EventRecord] = {}
    for name in _TELLING:
        found = await events.query(place.run_id, EventFilter(name=name))
        if isinstance(found, Failure):
            return Failure(found.failure())
        told |= {event.sequence: event for event in found.unwrap()}
    names = (await metrics.list_metrics(place.run_id)).value_or(())
    nothing: Result[tuple[MetricPoint, ...], StoreError] = Success(())
    points = await metrics.read(place.run_id, name=telling_metric(names)) if names else nothing
    infos = {info.run_id: info for info in (await events.list_runs()).value_or(())}
    info = infos.get(place.run_id, RunInfo(run_id=place.run_id))
    return points.map(lambda found: LoadedRun(info=info, events=tuple(told.values()), points=found))


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
