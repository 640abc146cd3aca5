"""How a run stands: whether it ended, with what, and where it is now."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from crucible.telemetry import events as told
from crucible.telemetry.types import EventRecord

State: TypeAlias = Literal["completed", "failed", "open"]
"""`open`: it goes on, or its process died without a word. Only the age of the last event tells which is likelier."""

_SEPARATORS = "/[#~"


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


def standing_of(events: Sequence[EventRecord]) -> Standing:
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
    if not events:
        return Standing(state="open", started=None, last_told=None)
    ordered = sorted(events, key=lambda event: event.sequence)
    started, last_told = min(it.timestamp for it in events), max(it.timestamp for it in events)
    writers = max(1, sum(event.name == told.RunOpened.NAME for event in events))
    state, error = _end_of(ordered)
    path = _failed_in(ordered) if state == "failed" else _now_in(ordered) if state == "open" else ""
    return Standing(state=state, started=started, last_told=last_told, path=path, error=error, num_writers=writers)


def _end_of(ordered: Sequence[EventRecord]) -> tuple[State, str]:
    """Give how the outermost workflow ended; a run that was opened again after that goes on."""
    state: State = "open"
    error, outermost = "", None
    for event in ordered:
        path = str(event.attributes.get("path", ""))
        if event.name == told.RunOpened.NAME:
            state, error, outermost = "open", "", None
        elif event.name == told.WorkflowStarted.NAME and outermost is None:
            state, error, outermost = "open", "", path
        elif path == outermost and event.name == told.WorkflowStopped.NAME:
            state, outermost = "completed", None
        elif path == outermost and event.name == told.WorkflowFailed.NAME:
            state, error, outermost = "failed", str(event.attributes.get("error", "")), None
    return state, error


def _failed_in(ordered: Sequence[EventRecord]) -> str:
    """Give the deepest stage of those that failed last."""
    paths = [str(event.attributes.get("path", "")) for event in ordered if event.name == told.StageFailed.NAME]
    return max(paths[-_NESTED:], key=lambda path: sum(path.count(it) for it in _SEPARATORS), default="")


def _now_in(ordered: Sequence[EventRecord]) -> str:
    """Give the newest stage that began and did not end."""
    begun: dict[str, None] = {}
    for event in ordered:
        path = str(event.attributes.get("path", ""))
        if event.name == told.RunOpened.NAME:
            begun.clear()
        elif event.name in {told.StageStarted.NAME, told.WorkflowStarted.NAME}:
            begun[path] = None
        elif event.name in _ENDS:
            begun.pop(path, None)
    return next(reversed(begun), "")


_NESTED = 20
"""A failure passes outwards through so many stages at most, as far as this looks."""
_ENDS = {
    told.StageStopped.NAME,
    told.StageFailed.NAME,
    told.WorkflowStopped.NAME,
    told.WorkflowFailed.NAME,
}
