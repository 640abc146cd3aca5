"""Durations, failures and costs, read from what a run told."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from crucible.telemetry.analysis.summary import Summary, summarize
from crucible.telemetry.types import EventRecord, MetricPoint


@attrs.frozen(kw_only=True)
class Span:
    """Something that began and ended: a stage, a workflow.

    Args:
        name: of its events, without `.start` and `.stop`.
        path: where in the workflow.
        started: when.
        seconds: how long; None for one that never ended, as when the process was killed.
        error: what it failed with; None where it did not.
    """

    name: str
    path: str
    started: datetime
    seconds: float | None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Reliability:
    """How often something ended well. What never ended counts as failed."""

    count: int
    num_failed: int

    @property
    def success_rate(self) -> float:
        """Share that ended well; NaN when there was none."""
        return (self.count - self.num_failed) / self.count if self.count else float("nan")


def spans_of(events: Sequence[EventRecord]) -> tuple[Span, ...]:
    """Pair the starts and ends of events (`x.start` with `x.stop` or `x.exception`), by the time they began.

    >>> from datetime import UTC, datetime, timedelta
    >>> def at(second, name):
    ...     time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    ...     return EventRecord(name=name, timestamp=time, attributes={"path": "sft/load"}, sequence=second)
    >>> [span] = spans_of([at(0, "stage.run.start"), at(2, "stage.run.stop")])
    >>> span.name, span.path, span.seconds
    ('stage.run', 'sft/load', 2.0)
    """
    open_at: dict[tuple[str, str], list[int]] = {}
    spans: list[Span] = []
    for event in sorted(events, key=lambda event: event.sequence):
        name, _, phase = event.name.rpartition(".")
        path = str(event.attributes.get("path", ""))
        if phase == "start":
            open_at.setdefault((name, path), []).append(len(spans))
            spans.append(Span(name=name, path=path, started=event.timestamp, seconds=None))
        elif phase in {"stop", "exception"} and open_at.get((name, path)):
            place = open_at[name, path].pop()
            error = str(event.attributes.get("error", "")) if phase == "exception" else None
            seconds = (event.timestamp - spans[place].started).total_seconds()
            spans[place] = attrs.evolve(spans[place], seconds=seconds, error=error)
    return tuple(sorted(spans, key=lambda span: span.started))


def latency(spans: Sequence[Span]) -> Mapping[str, Summary]:
    """Describe the durations of spans that ended, in seconds, by path."""
    seconds: dict[str, list[float]] = {}
    for span in spans:
        if span.seconds is not None:
            seconds.setdefault(span.path, []).append(span.seconds)
    return {path: summarize(values) for path, values in sorted(seconds.items())}


def reliability(spans: Sequence[Span]) -> Mapping[str, Reliability]:
    """Count what ended well and what did not, by path."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.path, []).append(span)
    return {
        path: Reliability(count=len(each), num_failed=sum(it.error is not None or it.seconds is None for it in each))
        for path, each in sorted(found.items())
    }


def token_cost(points: Sequence[MetricPoint], usd_per_million: Mapping[str, float]) -> Mapping[str, float]:
    """Give what tokens cost, in US dollars, by the metric that counts them.

    Args:
        points: of a run.
        usd_per_million: the price of a million tokens, by the name of the metric (`num_tokens`, `rl/num_tokens`).

    >>> from datetime import UTC, datetime
    >>> point = MetricPoint(name="num_tokens", value=5e5, step=1, timestamp=datetime.now(UTC), sequence=0)
    >>> token_cost([point], {"num_tokens": 0.4})
    {'num_tokens': 0.2}
    """
    return {
        name: price * sum(point.value for point in points if point.name == name) / 1e6
        for name, price in usd_per_million.items()
    }
