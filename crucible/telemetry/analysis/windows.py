"""Statistics by window: of values by step or by time, and of events with how they ended and how long they took.

Windows are half-open, [start, start + width), on a grid through `origin`. A window a stride further begins where the last one did plus
`stride`, so that a stride of one width makes windows that do not overlap. Every record is in as many windows as reach over it,
width / stride where the stride divides the width: the first windows begin before the first record, the last end after the last.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

import attrs

from crucible.telemetry.analysis.spans import Span, spans_of
from crucible.telemetry.analysis.summary import Summary, summarize
from crucible.telemetry.types import EventRecord, MetricPoint

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Timed(Protocol):
    """What happened at some time: a point, an event."""

    @property
    def timestamp(self) -> datetime:
        """When."""


T = TypeVar("T", int, datetime)
TimedT = TypeVar("TimedT", bound=Timed)


@attrs.frozen(kw_only=True)
class Window(Generic[T]):
    """The values of [start, end), steps or times.

    Args:
        total: the sum of the finite values.
        summary: count, mean, standard deviation, extremes, percentiles: NaN where there are no values.
    """

    start: T
    end: T
    total: float
    summary: Summary


@attrs.frozen(kw_only=True)
class EventWindow:
    """The events of [start, end).

    Args:
        num_events: all of them.
        num_succeeded: spans (`x.start` to `x.stop`) that ended well in this window.
        num_failed: spans that ended with an error in this window.
        seconds: how long the spans took that ended in this window.
    """

    start: datetime
    end: datetime
    num_events: int
    num_succeeded: int
    num_failed: int
    seconds: Summary


def windows_by_step(
    points: Sequence[MetricPoint],
    *,
    width: int,
    stride: int | None = None,
    origin: int | None = None,
    keep_empty: bool = True,
) -> tuple[Window[int], ...]:
    """Describe the values of points by windows of steps. Points without a step are in none.

    Args:
        points: of one metric.
        width: of a window, in steps.
        stride: from one start to the next; the width when None.
        origin: a step at which a window starts; the first when None.
        keep_empty: whether windows without values are given, between the first and the last that have some.

    Raises: ValueError for a width or stride below 1, or a stride beyond the width, which would leave values out.

    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> points = [MetricPoint(name="loss", value=9 - i, step=i, timestamp=now, sequence=i) for i in range(5)]
    >>> [(it.start, it.end, it.summary.count, it.total) for it in windows_by_step(points, width=2)]
    [(0, 2, 2, 17.0), (2, 4, 2, 13.0), (4, 6, 1, 5.0)]
    """
    placed = sorted(((it.step, it.value) for it in points if it.step is not None), key=lambda pair: pair[0])
    steps = [step for step, _ in placed]
    grid = _Grid(width=width, stride=width if stride is None else stride, origin=origin)
    return tuple(
        _window(start, start + width, placed[first:last])
        for start, first, last in grid.cuts(steps, keep_empty=keep_empty)
    )


def windows_by_time(
    points: Sequence[MetricPoint],
    *,
    width: timedelta,
    stride: timedelta | None = None,
    origin: datetime | None = None,
    keep_empty: bool = True,
) -> tuple[Window[datetime], ...]:
    """Describe the values of points by windows of time, as `windows_by_step` does by steps.

    Raises: ValueError for a width or stride that is not positive, or a stride beyond the width.

    >>> start = datetime(2026, 1, 1, tzinfo=UTC)
    >>> times = [start, start + timedelta(seconds=90)]
    >>> points = [MetricPoint(name="loss", value=2, timestamp=time, sequence=i) for i, time in enumerate(times)]
    >>> [(f"{it.start:%H:%M:%S}", it.total) for it in windows_by_time(points, width=timedelta(minutes=1))]
    [('00:00:00', 2.0), ('00:01:00', 2.0)]
    """
    placed = sorted(((_micros(it.timestamp), it.value) for it in points), key=lambda pair: pair[0])
    grid = _Grid.of_times(width, stride, origin)
    return tuple(
        _window(_time(start), _time(start) + width, placed[first:last])
        for start, first, last in grid.cuts([time for time, _ in placed], keep_empty=keep_empty)
    )


def windows_of_events(
    events: Sequence[EventRecord],
    *,
    width: timedelta,
    stride: timedelta | None = None,
    origin: datetime | None = None,
    keep_empty: bool = True,
) -> tuple[EventWindow, ...]:
    """Count events by windows of time, and describe the spans that ended in each. A span that never ended is in none.

    Raises: ValueError for a width or stride that is not positive, or a stride beyond the width.

    >>> def at(second, name):
    ...     return EventRecord(name=name, timestamp=_EPOCH + timedelta(seconds=second), sequence=second)
    >>> told = [at(0, "stage.start"), at(4, "stage.stop"), at(5, "stage.start"), at(7, "stage.exception")]
    >>> [
    ...     (it.num_events, it.num_succeeded, it.num_failed, it.seconds.mean)
    ...     for it in windows_of_events(told, width=timedelta(seconds=5))
    ... ]
    [(2, 1, 0, 4.0), (2, 0, 1, 2.0)]
    """
    times = sorted(_micros(event.timestamp) for event in events)
    ended = sorted(
        ((_end_of(span), span) for span in spans_of(events) if span.seconds is not None), key=lambda it: it[0]
    )
    ends = [end for end, _ in ended]
    grid = _Grid.of_times(width, stride, origin)
    found: list[EventWindow] = []
    for start, first, last in grid.cuts(times, keep_empty=keep_empty):
        inside = [span for _, span in ended[bisect_left(ends, start) : bisect_left(ends, start + grid.width)]]
        failed = sum(span.error is not None for span in inside)
        found.append(
            EventWindow(
                start=_time(start),
                end=_time(start) + width,
                num_events=last - first,
                num_succeeded=len(inside) - failed,
                num_failed=failed,
                seconds=summarize([span.seconds for span in inside if span.seconds is not None]),
            )
        )
    return tuple(found)


def within(
    records: Sequence[TimedT],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    last: int | None = None,
) -> tuple[TimedT, ...]:
    """Give the records from `since` to `until`, both included, and of these only the `last` newest, oldest first.

    Raises: ValueError for a negative `last`.

    >>> times = [_EPOCH + timedelta(seconds=second) for second in (3, 1, 2)]
    >>> events = [EventRecord(name="tick", timestamp=time, sequence=i) for i, time in enumerate(times)]
    >>> [event.timestamp.second for event in within(events, since=times[1], last=2)]
    [2, 3]
    """
    if last is not None and last < 0:
        raise ValueError(f"the last {last} records: ask for 0 or more")
    found = sorted(
        (it for it in records if (since is None or since <= it.timestamp) and (until is None or it.timestamp <= until)),
        key=lambda it: it.timestamp,
    )
    return tuple(found if last is None else found[max(0, len(found) - last) :])


@attrs.frozen(kw_only=True)
class _Grid:
    """Where windows start, in whole numbers: steps, or microseconds."""

    width: int
    stride: int
    origin: int | None

    @staticmethod
    def of_times(width: timedelta, stride: timedelta | None, origin: datetime | None) -> "_Grid":
        return _Grid(
            width=width // _MICROSECOND,
            stride=(width if stride is None else stride) // _MICROSECOND,
            origin=None if origin is None else _micros(origin),
        )

    def __attrs_post_init__(self) -> None:
        if not 0 < self.stride <= self.width:
            raise ValueError(
                f"windows of width {self.width} with a stride of {self.stride}: both must be positive, and a stride beyond "
                "the width would leave values out"
            )

    def cuts(self, places: Sequence[int], *, keep_empty: bool) -> Iterator[tuple[int, int, int]]:
        """Give the start of each window, and where its sorted places begin and end."""
        if not places:
            return
        origin = places[0] if self.origin is None else self.origin
        number = (places[0] - self.width - origin) // self.stride + 1
        while origin + number * self.stride <= places[-1]:
            start = origin + number * self.stride
            first, last = bisect_left(places, start), bisect_left(places, start + self.width)
            if first < last or keep_empty:
                yield start, first, last
                number += 1
            else:
                number = (places[first] - self.width - origin) // self.stride + 1


def _window(start: T, end: T, placed: Sequence[tuple[int, float]]) -> Window[T]:
    values = [value for _, value in placed]
    return Window(start=start, end=end, total=math.fsum(filter(math.isfinite, values)), summary=summarize(values))


def _end_of(span: Span) -> int:
    return _micros(span.started + timedelta(seconds=span.seconds or 0.0))


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)
