"""How runs differ: plainly, and with a test where there are seeds enough for one.

The steps of one run are no independent samples of what a configuration gives: another seed gives another curve. So a p-value
is given only for groups of two runs or more that differ in nothing but seeds, one value for each run.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

import attrs

from crucible.telemetry.analysis import Comparison, compare, corrected
from crucible.telemetry.loading import LoadedRun
from crucible.telemetry.report._configuration import apart_from_seeds
from crucible.telemetry.report._numbers import number
from crucible.telemetry.report._scales import DRAWABLE
from crucible.telemetry.series import Series

LAST = 20
"""The values at the end of a series that its level is read off: so many, or the last fifth of a shorter series."""


@attrs.frozen(kw_only=True)
class Difference:
    """One metric of some runs.

    Args:
        name: of the metric.
        levels: the mean of the last values in each run, of those that are finite; NaN where none is.
        counts: how many values that is.
        baseline: the number of the run that the others are compared with.
    """

    name: str
    levels: tuple[float, ...]
    counts: tuple[int, ...]
    baseline: int = 0

    @property
    def from_baseline(self) -> tuple[float, ...]:
        """The differences from the baseline; NaN where one of both has no values."""
        return tuple(level - self.levels[self.baseline] for level in self.levels)

    def spread(self, group: Sequence[int]) -> tuple[float, float] | None:
        """Give mean and standard deviation over runs; None where fewer than two of them have values.

        >>> it = Difference(name="loss", levels=(1.0, 3.0, math.nan), counts=(5, 5, 0))
        >>> it.spread((0, 1, 2)), it.spread((1, 2))
        ((2.0, 1.4142135623730951), None)
        """
        levels = [self.levels[run] for run in group if self.counts[run]]
        return (statistics.fmean(levels), statistics.stdev(levels)) if len(levels) > 1 else None


@attrs.frozen(kw_only=True)
class Ends:
    """The ends of a metric in two runs; `interval` is of the difference as far as the noise between steps goes."""

    name: str
    levels: tuple[float, float]
    counts: tuple[int, int]
    interval: tuple[float, float] | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table: metric, A, B, B - A, interval, number of values."""
        a, b = self.levels
        interval = "" if self.interval is None else f"{number(self.interval[0])} to {number(self.interval[1])}"
        return self.name, number(a), number(b), number(b - a), interval, f"{self.counts[0]}/{self.counts[1]}"


@attrs.frozen(kw_only=True)
class GroupComparison:
    """One metric of two groups of runs that differ within each group in seeds only; p-values are Holm's."""

    name: str
    comparison: Comparison


def level_of(series: Series) -> tuple[float, int]:
    """Give the mean of the last values of a series that are finite, and how many they are: none of a loss that became NaN.

    >>> level_of(Series(name="loss", steps=tuple(range(10)), values=(9.0,) * 8 + (2.0, 1.0)))
    (1.5, 2)
    """
    end = _end_of(series)
    return (math.fsum(end) / len(end), len(end)) if end else (math.nan, 0)


def compared_ends(a: Series, b: Series) -> Ends:
    """Compare the last values of a metric in two runs.

    >>> falls = Series(name="loss", steps=tuple(range(40)), values=tuple(2.0 + step % 3 / 10 for step in range(40)))
    >>> lower = Series(name="loss", steps=falls.steps, values=tuple(value - 1 for value in falls.values))
    >>> compared_ends(falls, lower).cells
    ('loss', '2.1', '1.1', '-1', '-1.099 to -0.9007', '8/8')
    """
    ends = [_end_of(series) for series in (a, b)]
    levels = [math.fsum(end) / len(end) if end else math.nan for end in ends]
    interval = None
    if min(map(len, ends)) >= _ENOUGH_STEPS:
        try:
            interval = compare(*ends, test="welch").interval
        except ValueError:  # values all alike
            interval = None
    return Ends(name=a.name, levels=(levels[0], levels[1]), counts=(len(ends[0]), len(ends[1])), interval=interval)


def differences(series: Sequence[Mapping[str, Series]]) -> tuple[Difference, ...]:
    """Compare the metrics that two runs or more have in common, with the first run that has any."""
    baseline = baseline_of(series)
    names = sorted({name for each in series for name in each})
    found = []
    for name in names:
        levels = [level_of(each[name]) if name in each else (math.nan, 0) for each in series]
        if sum(count > 0 for _, count in levels) > 1:
            values, counts = tuple(it for it, _ in levels), tuple(it for _, it in levels)
            found.append(Difference(name=name, levels=values, counts=counts, baseline=baseline))
    return tuple(found)


def baseline_of(series: Sequence[Mapping[str, Series]]) -> int:
    """Give the number of the first run that has metrics: one that died at once is nothing to compare with."""
    return next((run for run, each in enumerate(series) if each), 0)


def groups_of(runs: Sequence[LoadedRun]) -> tuple[tuple[int, ...], ...]:
    """Give the numbers of the runs that differ in nothing but seeds, group by group; runs without metrics are in none."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if run.points:
            groups.setdefault(apart_from_seeds(run.info), []).append(index)
    return tuple(tuple(group) for group in groups.values())


def group_comparisons(groups: Sequence[Sequence[int]], found: Sequence[Difference]) -> tuple[GroupComparison, ...]:
    """Test two groups of two runs or more against each other, metric by metric.

    What was set or counted is no outcome, and not tested: each test more makes the others less sure. A run without a metric is
    left out of its test.
    """
    if len(groups) != _TWO or min(map(len, groups)) < _TWO:
        return ()
    tested: list[tuple[str, Comparison]] = []
    for difference in filter(_is_outcome, found):
        a, b = ([difference.levels[run] for run in group if difference.counts[run]] for group in groups)
        try:
            tested.append((difference.name, compare(a, b)))
        except ValueError:  # too few runs with the metric, or values all alike: nothing to test
            continue
    adjusted = corrected([comparison for _, comparison in tested])
    return tuple(
        GroupComparison(name=name, comparison=comparison)
        for (name, _), comparison in zip(tested, adjusted, strict=True)
    )


def _is_outcome(difference: Difference) -> bool:
    last = difference.name.rpartition("/")[2]
    return last != "learning_rate" and not last.startswith("num_")


def _end_of(series: Series) -> list[float]:
    end = series.values[-min(LAST, max(1, len(series) // 5)) :]
    return [value for value in end if abs(value) <= DRAWABLE]


_TWO = 2
_ENOUGH_STEPS = 5
