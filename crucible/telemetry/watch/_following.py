"""Following a run that another process writes: each look reads what is new, and takes no lock that the writer waits for."""

from datetime import timedelta

from crucible.effects import Failure, Result, Success
from crucible.telemetry.errors import StoreError, UnknownRun
from crucible.telemetry.events import RunOpened
from crucible.telemetry.experiments import RunHeld
from crucible.telemetry.loading import RunPlace, stores_of
from crucible.telemetry.types import EventFilter, EventRecord, MetricPoint

OVERLAP = timedelta(seconds=30)
"""How long before the newest event another look begins: two processes that write one run are not in step."""
OVERLAP_STEPS = 20
"""The same for points: evaluations are told after the step that they are of."""


class Follower:
    """Gives what a run has told since the last time it was asked.

    Events come once each, in the order of their numbers; so do points, of which those without a step are left out after the
    first look.
    """

    def __init__(self, place: RunPlace) -> None:
        self._place = place
        self._events, self._metrics = stores_of(place)
        self._seen_events: dict[int, EventRecord] = {}
        self._seen_points: dict[int, int | None] = {}
        self._experiment: str | None = None

    async def is_held(self) -> bool:
        """Tell whether the run waits for its experiment, which is paused: one that is kept in the same folder."""
        if self._experiment is None:
            info = await self._events.find_run(self._place.run_id)
            known = None if isinstance(info, Failure) else info.unwrap()
            self._experiment = None if known is None else str(known.metadata.get("experiment") or "")
        wanted = EventFilter(attributes={"run_id": self._place.run_id})
        told = (await self._events.query(self._experiment, wanted)).value_or(()) if self._experiment else ()
        return bool(told) and told[-1].name == RunHeld.NAME

    async def new_events(self) -> Result[tuple[EventRecord, ...], StoreError]:
        """Give the events that are new."""
        newest = max((event.timestamp for event in self._seen_events.values()), default=None)
        since = None if newest is None else newest - OVERLAP
        found = await self._events.query(self._place.run_id, EventFilter(since=since))
        if isinstance(found, Failure):
            return _none_where_unknown(found.failure())
        new = tuple(event for event in found.unwrap() if event.sequence not in self._seen_events)
        self._seen_events = {event.sequence: event for event in found.unwrap()}
        if any(event.name == RunOpened.NAME for event in new):
            self._seen_points.clear()  # it was resumed: steps may be done again, from an earlier one on
        return Success(new)

    async def new_points(self) -> Result[tuple[MetricPoint, ...], StoreError]:
        """Give the points that are new; all of them again after a process has opened the run."""
        newest = max((step for step in self._seen_points.values() if step is not None), default=None)
        since = None if newest is None else newest - OVERLAP_STEPS
        found = await self._metrics.read(self._place.run_id, since_step=since)
        if isinstance(found, Failure):
            return _none_where_unknown(found.failure())
        new = tuple(point for point in found.unwrap() if point.sequence not in self._seen_points)
        self._seen_points = {point.sequence: point.step for point in found.unwrap()}
        return Success(new)


def _none_where_unknown(error: StoreError) -> Result[tuple[()], StoreError]:
    """Say that nothing was told where the store does not know the run yet."""
    return Success(()) if isinstance(error, UnknownRun) else Failure(error)
