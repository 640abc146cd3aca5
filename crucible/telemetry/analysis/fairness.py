"""Fairness: whether decisions about one group of people are those about another.

The measures are of Barocas, Hardt and Narayanan, "Fairness and Machine Learning", 2023, chapter 3. Equalized odds and equal
opportunity: Hardt, Price and Srebro, "Equality of Opportunity in Supervised Learning", 2016. Predictive parity, and why it goes
together with equalized odds only where base rates are equal: Chouldechova, "Fair prediction with disparate impact", 2017. The
ratio of selection rates and its four-fifths rule: Uniform Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D. The
intervals: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
from scipy import stats

from crucible.telemetry.analysis.comparison import Interval

FairnessMetric: TypeAlias = Literal["demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity"]
FAIRNESS_METRICS: tuple[FairnessMetric, ...] = (
    "demographic_parity",
    "equal_opportunity",
    "equalized_odds",
    "predictive_parity",
)


@attrs.frozen(kw_only=True)
class Decision:
    """What was decided about one example of a group: `label` is the truth, `prediction` the decision, `score` how sure it was."""

    group: str
    label: bool
    prediction: bool
    score: float | None = None


@attrs.frozen(kw_only=True)
class Rate:
    """So many of so many, with Wilson's interval; value and interval are None where there is nothing to count."""

    count: int
    total: int
    value: float | None
    interval: Interval | None


@attrs.frozen(kw_only=True)
class GroupRates:
    """The rates of one group.

    Args:
        group: its name.
        num_examples: how many decisions about it there are.
        is_small: whether those are too few to say much; its rates count all the same.
        base: label true, of all.
        selected: prediction true, of all; P(prediction).
        true_positive: prediction true, of those whose label is; P(prediction | label).
        false_positive: prediction true, of those whose label is false; P(prediction | not label).
        precision: label true, of those whose prediction is; P(label | prediction).
        accuracy: label and prediction alike, of all.
        mean_score: of the examples that have one; None where none has.
    """

    group: str
    num_examples: int
    is_small: bool
    base: Rate
    selected: Rate
    true_positive: Rate
    false_positive: Rate
    precision: Rate
    accuracy: Rate
    mean_score: float | None


@attrs.frozen(kw_only=True)
class Gap:
    """How far groups are apart in one measure.

    Args:
        metric: the measure.
        difference: the highest rate minus the lowest, 0 where all are alike; None where fewer than two groups have the rate.
        ratio: the lowest rate divided by the highest, 1 where all are alike.
        lowest: the group with the lowest rate.
        highest: the group with the highest rate.
        left_out: groups that do not have the rate, as nothing of theirs is counted by it.
    """

    metric: FairnessMetric
    difference: float | None
    ratio: float | None
    lowest: str | None
    highest: str | None
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.metric}: fewer than two groups have the rate"
        return f"{self.metric}: {self.difference:.3f} from {self.lowest} (lowest) to {self.highest} (highest)"


@attrs.frozen(kw_only=True)
class Verdict:
    """Which measures are further apart than they may be, which nobody knows, and which groups are small."""

    violations: tuple[Gap, ...]
    unknown: tuple[Gap, ...]
    small_groups: tuple[str, ...]

    @property
    def is_fair(self) -> bool:
        """Whether all that was asked for is known, and within its limit."""
        return not self.violations and not self.unknown

    def __str__(self) -> str:
        lines = [f"too far apart: {gap}" for gap in self.violations] + [f"not known: {gap}" for gap in self.unknown]
        lines += [f"small: {', '.join(self.small_groups)}"] if self.small_groups else []
        return "\n".join(lines) or "all within the limit"


@attrs.frozen(kw_only=True)
class Fairness:
    """The rates of each group, by name, and how far they are apart in each measure."""

    groups: Mapping[str, GroupRates]
    gaps: Mapping[FairnessMetric, Gap]

    def verdict(
        self,
        metrics: Collection[FairnessMetric] = FAIRNESS_METRICS,
        *,
        most_difference: float = 0.1,
        least_ratio: float | None = None,
    ) -> Verdict:
        """Hold the gaps against limits.

        Args:
            metrics: the measures that count. Where base rates differ, no decisions but perfect ones satisfy equalized odds and
                predictive parity both: choose the one that fits what is decided.
            most_difference: the largest difference between two groups.
            least_ratio: the smallest ratio of selection rates, 0.8 for the four-fifths rule; for demographic parity only.
        """
        asked = [self.gaps[metric] for metric in FAIRNESS_METRICS if metric in metrics]
        known = [gap for gap in asked if gap.difference is not None]
        return Verdict(
            violations=tuple(gap for gap in known if _is_too_far(gap, most_difference, least_ratio)),
            unknown=tuple(gap for gap in asked if gap.difference is None),
            small_groups=tuple(name for name, rates in self.groups.items() if rates.is_small),
        )


def fairness_of(decisions: Iterable[Decision], *, confidence: float = 0.95, few: int = 30) -> Fairness:
    """Compare the decisions about groups.

    - demographic parity: the rates of selection, P(prediction), are alike;
    - equal opportunity: the true positive rates, P(prediction | label), are;
    - equalized odds: the true and the false positive rates, P(prediction | not label), are; the larger of both differences;
    - predictive parity: the precisions, P(label | prediction), are.

    Args:
        decisions: about two groups or more.
        confidence: of the intervals.
        few: groups with fewer examples are marked as small.

    Raises: ValueError for fewer than two groups.

    >>> hired = [Decision(group="a", label=True, prediction=n < 48) for n in range(80)]
    >>> hired += [Decision(group="b", label=True, prediction=n < 12) for n in range(40)]
    >>> found = fairness_of(hired)
    >>> found.gaps["demographic_parity"].ratio, found.groups["b"].selected.value
    (0.5, 0.3)
    >>> print(found.verdict(["demographic_parity"]))
    too far apart: demographic_parity: 0.300 from b (lowest) to a (highest)
    """
    by_group: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_group.setdefault(decision.group, []).append(decision)
    if len(by_group) < 2:
        raise ValueError(f"fairness is between two groups or more, and there are {len(by_group)}")
    groups = {name: _rates(name, by_group[name], confidence, few) for name in sorted(by_group)}
    true_positive = _gap("equal_opportunity", {name: each.true_positive for name, each in groups.items()})
    false_positive = _gap("equalized_odds", {name: each.false_positive for name, each in groups.items()})
    gaps: dict[FairnessMetric, Gap] = {
        "demographic_parity": _gap("demographic_parity", {name: each.selected for name, each in groups.items()}),
        "equal_opportunity": true_positive,
        "equalized_odds": _worse(true_positive, false_positive),
        "predictive_parity": _gap("predictive_parity", {name: each.precision for name, each in groups.items()}),
    }
    return Fairness(groups=groups, gaps=gaps)


def _rates(name: str, decisions: Sequence[Decision], confidence: float, few: int) -> GroupRates:
    pairs = [(each.label, each.prediction) for each in decisions]
    labels, predictions = (sum(pair[index] for pair in pairs) for index in (0, 1))
    hits = pairs.count((True, True))
    right = hits + pairs.count((False, False))
    scores = [each.score for each in decisions if each.score is not None]

    def rate(count: int, total: int) -> Rate:
        return _rate(count, total, confidence)

    return GroupRates(
        group=name,
        num_examples=len(pairs),
        is_small=len(pairs) < few,
        base=rate(labels, len(pairs)),
        selected=rate(predictions, len(pairs)),
        true_positive=rate(hits, labels),
        false_positive=rate(predictions - hits, len(pairs) - labels),
        precision=rate(hits, predictions),
        accuracy=rate(right, len(pairs)),
        mean_score=sum(scores) / len(scores) if scores else None,
    )


def _rate(count: int, total: int, confidence: float) -> Rate:
    if total == 0:
        return Rate(count=0, total=0, value=None, interval=None)
    found = stats.binomtest(count, total).proportion_ci(confidence, method="wilson")
    return Rate(count=count, total=total, value=count / total, interval=(float(found.low), float(found.high)))


def _gap(metric: FairnessMetric, rates: Mapping[str, Rate]) -> Gap:
    values = {name: rate.value for name, rate in rates.items() if rate.value is not None}
    left_out = tuple(name for name in rates if name not in values)
    if len(values) < 2:
        return Gap(metric=metric, difference=None, ratio=None, lowest=None, highest=None, left_out=left_out)
    lowest, highest = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    low, high = values[lowest], values[highest]
    ratio = low / high if high else 1.0
    return Gap(metric=metric, difference=high - low, ratio=ratio, lowest=lowest, highest=highest, left_out=left_out)


def _worse(true_positive: Gap, false_positive: Gap) -> Gap:
    """Give the gap of equalized odds: the larger difference, the smaller ratio, and not known where one of both is not."""
    left_out = tuple(sorted({*true_positive.left_out, *false_positive.left_out}))
    known = [gap for gap in (true_positive, false_positive) if gap.difference is not None]
    if len(known) < 2:
        return Gap(metric="equalized_odds", difference=None, ratio=None, lowest=None, highest=None, left_out=left_out)
    worse = max(known, key=lambda gap: gap.difference or 0.0)
    ratio = min(gap.ratio or 0.0 for gap in known)
    return attrs.evolve(worse, metric="equalized_odds", ratio=ratio, left_out=left_out)


def _is_too_far(gap: Gap, most_difference: float, least_ratio: float | None) -> bool:
    if (gap.difference or 0.0) > most_difference:
        return True
    return gap.metric == "demographic_parity" and least_ratio is not None and (gap.ratio or 0.0) < least_ratio
