"""Where the time of a run went: the calls of ports, summed by stage, the slowest, and a waterfall of one turn."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from crucible.effects import Json
from crucible.telemetry.analysis import Summary, summarize
from crucible.telemetry.events import EffectPerformed
from crucible.telemetry.report._timeline import boxes, shape_of
from crucible.telemetry.types import EventRecord

SLOWEST = 12
MOST_KINDS = 60
IN_WATERFALL = 40


@attrs.frozen(kw_only=True)
class Call:
    """One call of a port."""

    effect: str
    path: str
    started: datetime
    seconds: float
    error: str


@attrs.frozen(kw_only=True)
class Total:
    """All calls of one operation in one stage.

    Args:
        share: of the seconds of all calls.
    """

    stage: str
    effect: str
    seconds: float
    share: float
    num_failed: int
    summary: Summary


@attrs.frozen(kw_only=True)
class Bar:
    """A call in the waterfall, and the box that shows when it ran."""

    call: Call
    box: str


@attrs.frozen(kw_only=True)
class Waterfall:
    """Calls one after another, from `inside` on."""

    inside: str
    bars: tuple[Bar, ...]
    seconds: float


@attrs.frozen(kw_only=True)
class Effects:
    """What is told of the calls of a run; `num_left_out` is of the totals, those of the least time."""

    count: int
    seconds: float
    totals: tuple[Total, ...]
    slowest: tuple[Call, ...]
    waterfall: Waterfall | None
    num_left_out: int


def calls_of(events: Iterable[EventRecord]) -> tuple[Call, ...]:
    """Read the calls off a run's events, in the order in which they began."""
    calls = (_call(event) for event in events if event.name == EffectPerformed.NAME)
    return tuple(sorted(calls, key=lambda call: call.started))


def effects_of(calls: Sequence[Call]) -> Effects | None:
    """Sum up the calls of a run; None where none was told."""
    if not calls:
        return None
    whole = sum(call.seconds for call in calls)
    grouped: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        grouped.setdefault((shape_of(call.path), call.effect), []).append(call)
    totals = [_total(stage, effect, each, whole) for (stage, effect), each in grouped.items()]
    return Effects(
        count=len(calls),
        seconds=whole,
        totals=tuple(sorted(totals, key=lambda total: -total.seconds)[:MOST_KINDS]),
        slowest=tuple(sorted(calls, key=lambda call: -call.seconds)[:SLOWEST]),
        waterfall=_waterfall(calls),
        num_left_out=max(0, len(totals) - MOST_KINDS),
    )


def turn_of(path: str) -> str:
    """Give the turn of the innermost loop that a path is in.

    >>> turn_of("sft/epochs[0]/batches[3]/forward_backward/#1"), turn_of("sft/load/#0")
    ('sft/epochs[0]/batches[3]', 'sft')
    """
    head, bracket, _ = path.rpartition("]")
    return head + bracket if bracket else path.partition("/")[0]


def _waterfall(calls: Sequence[Call]) -> Waterfall | None:
    """Choose, of the kind of turn that took most of the time, the one of median length."""
    turns: dict[str, list[Call]] = {}
    for call in calls:
        turns.setdefault(turn_of(call.path), []).append(call)
    kinds: dict[str, list[list[Call]]] = {}
    for path, turn in turns.items():
        kinds.setdefault(shape_of(path), []).append(turn)
    longest = max(kinds.values(), key=lambda kind: sum(call.seconds for turn in kind for call in turn))
    chosen = sorted(longest, key=_length)[len(longest) // 2][:IN_WATERFALL]
    start = chosen[0].started
    whole = max(_length(chosen), 1e-6)
    bars = (
        Bar(call=call, box=boxes([((call.started - start).total_seconds(), call.seconds)], whole)) for call in chosen
    )
    return Waterfall(inside=turn_of(chosen[0].path), bars=tuple(bars), seconds=whole)


def _length(turn: Sequence[Call]) -> float:
    ends = (call.started + timedelta(seconds=call.seconds) for call in turn)
    return (max(ends) - turn[0].started).total_seconds()


def _total(stage: str, effect: str, calls: Sequence[Call], whole: float) -> Total:
    seconds = sum(call.seconds for call in calls)
    return Total(
        stage=stage,
        effect=effect,
        seconds=seconds,
        share=seconds / whole if whole else 0.0,
        num_failed=sum(bool(call.error) for call in calls),
        summary=summarize([call.seconds for call in calls]),
    )


def _call(event: EventRecord) -> Call:
    """Read a call; its event tells when it ended."""
    said: Mapping[str, Json] = event.attributes
    told = said.get("seconds")
    seconds = float(told) if isinstance(told, int | float) and 0 <= told < _LONGEST else 0.0
    return Call(
        effect=str(said.get("effect", "")),
        path=str(said.get("path", "")),
        started=event.timestamp - timedelta(seconds=seconds),
        seconds=seconds,
        error=str(said.get("error") or ""),
    )


_LONGEST = 1e9
