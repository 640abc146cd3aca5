"""How runs differ: plainly, and with a test where there are seeds enough for one.

The steps of one run are no independent samples of what a configuration gives: another seed gives another curve. So a p-value
is given only for groups of two runs or more that differ in nothing but seeds, one value for each run.
"""

import math
from collections.abc import Mapping, Sequence

import attrs

from crucible.telemetry.analysis import Comparison, compare, corrected
from crucible.telemetry.loading import LoadedRun
from crucible.telemetry.report._configuration import apart_from_seeds
from crucible.telemetry.report._scales import DRAWABLE
from crucible.telemetry.series import Series

LAST = 20
"""The values at the end of a series that its level is read off: so many, or the last fifth of a shorter series."""


@attrs.frozen(kw_only=True)
class Difference:
    """One metric of some runs.

    Args:
        name: of the metric.
        levels: the mean of the last finite values in each run; NaN where it has none.
        counts: how many values that is.
        from_first: the difference from the first run.
    """

    name: str
    levels: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def from_first(self) -> tuple[float, ...]:
        """The differences from the first run."""
        return tuple(level - self.levels[0] for level in self.levels)


@attrs.frozen(kw_only=True)
class GroupComparison:
    """One metric of two groups of runs that differ within each group in seeds only; p-values are Holm's."""

    name: str
    comparison: Comparison


def level_of(series: Series) -> tuple[float, int]:
    """Give the mean of the last values of a series, and how many they are.

    >>> level_of(Series(name="loss", steps=tuple(range(10)), values=(9.0,) * 8 + (2.0, 1.0)))
    (1.5, 2)
    """
    finite = [value for value in series.values if abs(value) <= DRAWABLE]
    count = min(LAST, max(1, len(finite) // 5)) if finite else 0
    return (math.fsum(finite[-count:]) / count, count) if count else (math.nan, 0)


def differences(series: Sequence[Mapping[str, Series]]) -> tuple[Difference, ...]:
    """Compare the metrics that two runs or more have in common."""
    names = sorted({name for each in series for name in each})
    found = []
    for name in names:
        levels = [level_of(each[name]) if name in each else (math.nan, 0) for each in series]
        if sum(count > 0 for _, count in levels) > 1:
            found.append(
                Difference(name=name, levels=tuple(it for it, _ in levels), counts=tuple(it for _, it in levels))
            )
    return tuple(found)


def groups_of(runs: Sequence[LoadedRun]) -> tuple[tuple[int, ...], ...]:
    """Give the numbers of the runs that differ in nothing but seeds, group by group."""
    groups: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(apart_from_seeds(run.info), []).append(number)
    return tuple(tuple(group) for group in groups.values())


def group_comparisons(groups: Sequence[Sequence[int]], found: Sequence[Difference]) -> tuple[GroupComparison, ...]:
    """Test the first two groups against each other, where each has two runs or more."""
    if len(groups) != _TWO or min(map(len, groups)) < _TWO:
        return ()
    tested: list[tuple[str, Comparison]] = []
    for difference in found:
        a, b = ([difference.levels[number] for number in group] for group in groups)
        try:
            tested.append((difference.name, compare(a, b)))
        except ValueError:  # a run without the metric, or values all alike: nothing to test
            continue
    adjusted = corrected([comparison for _, comparison in tested])
    return tuple(
        GroupComparison(name=name, comparison=comparison)
        for (name, _), comparison in zip(tested, adjusted, strict=True)
    )


_TWO = 2
