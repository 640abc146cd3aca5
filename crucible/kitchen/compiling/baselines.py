"""The comparison of a run with its baseline, metric by metric, by the test that the spec asks for."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

import attrs

from crucible.ir import StatsSpec
from crucible.telemetry.types import MetricPoint

if TYPE_CHECKING:
    from crucible.telemetry.analysis import Comparison


@attrs.frozen(kw_only=True)
class Compared:
    """How a run differs from its baseline: each metric, and what could not be compared."""

    baseline: str
    metrics: "Mapping[str, Comparison]"
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"  {name}: {comparison}" for name, comparison in self.metrics.items()]
        return "\n".join([f"compared with {self.baseline}", *lines, *(f"  {problem}" for problem in self.problems)])


def compared(
    earlier: Sequence[MetricPoint], now: Sequence[MetricPoint], stats: StatsSpec, *, baseline: str
) -> Compared:
    """Compare the values of the metrics that both runs have, those of each step being a sample.

    Values that are not finite are left out, and that is said.
    """
    from crucible.telemetry.analysis import compare, corrected  # noqa: PLC0415  # it needs an extra

    before, after = _series(earlier), _series(now)
    names = stats.metrics or tuple(name for name in before if name in after)
    problems = [_lacking(name, before, after, baseline) for name in names if name not in before or name not in after]
    found: dict[str, Comparison] = {}
    for name in (name for name in names if name in before and name in after):
        a, b = (list(filter(isfinite, series[name])) for series in (before, after))
        if len(a) + len(b) < len(before[name]) + len(after[name]):
            problems.append(f"{name}: values that are not finite are left out")
        try:
            found[name] = compare(a, b, paired=stats.paired, test=stats.test, confidence=stats.confidence)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    together = corrected(list(found.values()), stats.correction)
    return Compared(baseline=baseline, metrics=dict(zip(found, together, strict=True)), problems=tuple(problems))


def _lacking(name: str, before: Collection[str], after: Collection[str], baseline: str) -> str:
    """Say which of the runs has no such metric, and which metrics could be compared."""
    who = "this run has none" if name in before else f"{baseline} has none" if name in after else "neither run has any"
    both = ", ".join(sorted(set(before) & set(after))) or "none at all"
    return f"{name}: {who} (both have {both})"


def _series(points: Sequence[MetricPoint]) -> Mapping[str, list[float]]:
    series: dict[str, list[float]] = {}
    for point in sorted(points, key=lambda point: point.step or 0):
        series.setdefault(point.name, []).append(point.value)
    return series
