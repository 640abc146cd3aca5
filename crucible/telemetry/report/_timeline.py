"""What ran when: stages as bars on a line of time, one row for each stage of the workflow however often it ran."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

import attrs

from crucible.telemetry.analysis import Span
from crucible.telemetry.report._numbers import duration

MOST_ROWS = 120
RESOLUTION = 1000
"""Bars are drawn in thousandths of the time shown."""
_LEAST_WIDTH = 2.0


@attrs.frozen(kw_only=True)
class Row:
    """All spans of one stage.

    Args:
        inside: where in the workflow, `[*]` for the turns of a loop.
        name: of the stage.
        count: how often it ran.
        seconds: how long, all together.
        num_failed: how often it failed.
        num_unended: how often it began and did not end.
        bars: a path of boxes, `RESOLUTION` wide and 10 high.
        failures: the same of those that failed or did not end.
    """

    inside: str
    name: str
    count: int
    seconds: float
    num_failed: int
    num_unended: int
    bars: str
    failures: str

    @property
    def says(self) -> str:
        """The row in words."""
        times = f"{self.count:,} times, " if self.count > 1 else ""
        failed = f", {self.num_failed} failed" if self.num_failed else ""
        unended = f", {self.num_unended} never ended" if self.num_unended else ""
        return f"{times}{duration(self.seconds)}{failed}{unended}"


@attrs.frozen(kw_only=True)
class Timeline:
    """Rows over the same stretch of time; `num_left_out` is of rows, those of the least time."""

    rows: tuple[Row, ...]
    seconds: float
    num_left_out: int = 0

    @property
    def ticks(self) -> tuple[str, ...]:
        """What to write below the line, at equal distances."""
        return tuple("0" if part == 0 else duration(self.seconds * part / 4) for part in range(5))


def shape_of(path: str) -> str:
    """Give the place of a stage in its workflow, whichever turn of a loop it was.

    >>> shape_of("supervised/epochs[0]/batches[31]/forward_backward/#1")
    'supervised/epochs[*]/batches[*]/forward_backward'
    """
    return re.sub(r"/#\d+.*$", "", re.sub(r"\[\d+\]", "[*]", path))


def timeline_of(spans: Sequence[Span], *, until: datetime) -> Timeline:
    """Draw spans; those that did not end reach until `until`.

    >>> from datetime import UTC, timedelta
    >>> start = datetime(2026, 1, 1, tzinfo=UTC)
    >>> turns = [
    ...     Span(name="s", path=f"sft/b[{i}]/step", started=start + timedelta(seconds=i), seconds=0.5) for i in (0, 1)
    ... ]
    >>> drawn = timeline_of(turns, until=start + timedelta(seconds=2))
    >>> [(row.inside, row.name, row.says, row.bars) for row in drawn.rows]
    [('b[*]/', 'step', '2 times, 1 s', 'M0 0h250v10h-250zM500 0h250v10h-250z')]
    """
    if not spans:
        return Timeline(rows=(), seconds=0.0)
    start = min(span.started for span in spans)
    whole = max((until - start).total_seconds(), 1e-6)
    shapes: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.started):
        shapes.setdefault(shape_of(span.path), []).append(span)
    rows = [_row(shape, each, start, whole) for shape, each in shapes.items()]
    least = sorted((row.seconds for row in rows), reverse=True)[:MOST_ROWS][-1]
    shown = [row for row in rows if row.seconds >= least][:MOST_ROWS]
    return Timeline(rows=tuple(shown), seconds=whole, num_left_out=len(rows) - len(shown))


def boxes(stretches: Iterable[tuple[float, float]], whole: float) -> str:
    """Write boxes from pairs of start and length in seconds; those that touch become one.

    >>> boxes([(0.0, 5.0), (5.0, 1.0), (9.0, 1.0)], 10.0)
    'M0 0h600v10h-600zM900 0h100v10h-100z'
    """
    drawn: list[list[float]] = []
    for began, seconds in sorted(stretches):
        left = began / whole * RESOLUTION
        right = min(RESOLUTION, max(left + _LEAST_WIDTH, (began + seconds) / whole * RESOLUTION))
        left = min(left, right - _LEAST_WIDTH)
        if drawn and left <= drawn[-1][1] + 1:
            drawn[-1][1] = max(drawn[-1][1], right)
        else:
            drawn.append([left, right])
    return "".join(f"M{left:.4g} 0h{right - left:.4g}v10h-{right - left:.4g}z" for left, right in drawn)


def _row(shape: str, spans: Sequence[Span], start: datetime, whole: float) -> Row:
    def stretch(span: Span) -> tuple[float, float]:
        began = (span.started - start).total_seconds()
        return began, whole - began if span.seconds is None else span.seconds

    bad = [span for span in spans if span.error is not None or span.seconds is None]
    inside, _, name = shape.rpartition("/")
    return Row(
        inside=f"{inside.partition('/')[2]}/" if "/" in inside else "",
        name=name,
        count=len(spans),
        seconds=sum(stretch(span)[1] for span in spans),
        num_failed=sum(span.error is not None for span in spans),
        num_unended=sum(span.seconds is None for span in spans),
        bars=boxes(map(stretch, spans), whole),
        failures=boxes(map(stretch, bad), whole),
    )
