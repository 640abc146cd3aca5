"""How a run stands: whether it ended, with what, and where it is now."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from crucible.telemetry import events as told
from crucible.telemetry.types import EventRecord

State: TypeAlias = Literal["completed", "failed", "open"]
"""`open`: it goes on, or its process died without a word. Only the age of the last event tells which is likelier."""


QUIET_SECONDS = 30.0
"""A run that has told nothing for longer is pointed out: a step may be long, or its process gone."""


@attrs.frozen(kw_only=True)
class Standing:
    """How a run stands by what it told.

    Args:
        state: completed, failed, or never ended.
        started: the first event; None where nothing was told.
        last_told: the newest event.
        path: of the stage it is in, or in which it failed.
        error: what it failed with.
        num_writers: how many processes have written it.
    """

    state: State
    started: datetime | None
    last_told: datetime | None
    path: str = ""
    error: str = ""
    num_writers: int = 1

    @property
    def seconds(self) -> float:
        """From the first event to the newest."""
        if self.started is None or self.last_told is None:
            return 0.0
        return (self.last_told - self.started).total_seconds()


class StandingReader:
    """Reads how a run stands off its events as they come, in the order of their numbers."""

    def __init__(self) -> None:
        self._state: State = "open"
        self._error = ""
        self._outermost: str | None = None
        self._is_reopened = False
        self._begun: dict[str, None] = {}
        self._failed_in = ""
        self._num_writers = 0
        self._started: datetime | None = None
        self._last_told: datetime | None = None

    def take(self, event: EventRecord) -> None:
        """Take the next event."""
        path = str(event.attributes.get("path", ""))
        self._started = min(self._started or event.timestamp, event.timestamp)
        self._last_told = max(self._last_told or event.timestamp, event.timestamp)
        if event.name == told.RunOpened.NAME:
            self._num_writers += 1
            if (
                self._state != "completed"
            ):  # one that is complete has nothing to go on with: it is only repeated, or begun anew
                self._begin_anew(self._outermost)
            self._is_reopened = True
        elif event.name in _STARTS:
            if event.name == told.WorkflowStarted.NAME:
                self._take_workflow(path)
            self._begun[path] = None
        elif event.name in _ENDS:
            self._begun.pop(path, None)
            if _is_innermost(event, path, self._failed_in):
                self._failed_in = path
            if path == self._outermost:
                self._end(event)

    def _take_workflow(self, path: str) -> None:
        """Begin anew, unless it is a part of the workflow that goes on.

        A process that goes on with a run from its journal tells no start that an earlier one told.
        """
        is_part = self._outermost is not None and path.startswith(f"{self._outermost}/")
        if self._outermost is None or self._state != "open" or (self._is_reopened and not is_part):
            self._begin_anew(path)
        self._is_reopened = False

    @property
    def standing(self) -> Standing:
        """How the run stands by what was taken."""
        now_in = next(reversed(self._begun), "")
        return Standing(
            state=self._state,
            started=self._started,
            last_told=self._last_told,
            path={"open": now_in, "failed": self._failed_in, "completed": ""}[self._state],
            error=self._error,
            num_writers=max(1, self._num_writers),
        )

    def _begin_anew(self, outermost: str | None) -> None:
        self._state, self._error, self._failed_in, self._outermost = "open", "", "", outermost
        self._begun.clear()

    def _end(self, event: EventRecord) -> None:
        if event.name == told.WorkflowStopped.NAME:
            self._state = "completed"
        elif event.name == told.WorkflowFailed.NAME:
            self._state, self._error = "failed", str(event.attributes.get("error", ""))


def standing_of(events: Iterable[EventRecord]) -> Standing:
    """Read how a run stands off its events.

    >>> from datetime import UTC, datetime
    >>> def at(second, kind, path, **more):
    ...     time = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
    ...     return EventRecord(name=kind.NAME, timestamp=time, attributes={"path": path, **more}, sequence=second)
    >>> begun = [at(0, told.WorkflowStarted, "sft"), at(1, told.StageStarted, "sft/load")]
    >>> standing_of(begun).state, standing_of(begun).path
    ('open', 'sft/load')
    >>> died = [
    ...     *begun,
    ...     at(2, told.StageFailed, "sft/load", error="no rows"),
    ...     at(3, told.WorkflowFailed, "sft", error="no rows"),
    ... ]
    >>> standing_of(died).state, standing_of(died).path, standing_of(died).error, standing_of(died).seconds
    ('failed', 'sft/load', 'no rows', 3.0)
    """
    reader = StandingReader()
    for event in sorted(events, key=lambda event: event.sequence):
        reader.take(event)
    return reader.standing


def age(seconds: float) -> str:
    """Say how long ago something was.

    >>> [age(seconds) for seconds in (0.4, 43, 200, 7400)]
    ['less than 1 s', '43 s', '3 min', '2 h 3 min']
    """
    if seconds < 1:
        return "less than 1 s"
    if seconds < 120:  # two minutes read better in seconds
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # minutes of an hour


def _is_innermost(event: EventRecord, path: str, failed_in: str) -> bool:
    """Tell whether a stage failed that is not around the one that failed before; undoing is not what failed first."""
    is_failure = event.name == told.StageFailed.NAME and event.attributes.get("stage") != "rollback"
    return is_failure and not failed_in.startswith(f"{path}/")


_STARTS = {told.WorkflowStarted.NAME, told.StageStarted.NAME}
_ENDS = {told.StageStopped.NAME, told.StageFailed.NAME, told.WorkflowStopped.NAME, told.WorkflowFailed.NAME}
