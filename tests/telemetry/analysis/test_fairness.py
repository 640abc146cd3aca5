"""Fairness measures are those of the literature, and depend on nothing but the decisions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.telemetry.analysis import FAIRNESS_METRICS, Decision, Fairness, fairness_of


def counted(group: str, *, tp: int = 0, fp: int = 0, fn: int = 0, tn: int = 0) -> list[Decision]:
    """Make the decisions of a confusion matrix."""
    return [
        Decision(group=group, label=label, prediction=prediction)
        for label, prediction, count in [(True, True, tp), (False, True, fp), (True, False, fn), (False, False, tn)]
        for _ in range(count)
    ]


class TestKnownCases:
    def test_the_recidivism_scores_of_broward_county(self) -> None:
        """The counts that ProPublica published in 2016 ("How We Analyzed the COMPAS Recidivism Algorithm", two years)."""
        black = counted("black", tp=1369, fp=805, fn=532, tn=990)
        white = counted("white", tp=505, fp=349, fn=461, tn=1139)
        found = fairness_of([*black, *white])
        rates = found.groups
        assert round(100 * (rates["black"].false_positive.value or 0), 2) == 44.85
        assert round(100 * (rates["white"].false_positive.value or 0), 2) == 23.45
        assert round(100 * (1 - (rates["black"].true_positive.value or 0)), 2) == 27.99
        assert round(100 * (1 - (rates["white"].true_positive.value or 0)), 2) == 47.72
        assert [round(rates[name].precision.value or 0, 2) for name in ("black", "white")] == [0.63, 0.59]
        assert [round(rates[name].base.value or 0, 2) for name in ("black", "white")] == [0.51, 0.39]
        assert math.isclose(found.gaps["equalized_odds"].difference or 0, 805 / 1795 - 349 / 1488)
        assert math.isclose(found.gaps["equal_opportunity"].difference or 0, 1369 / 1901 - 505 / 966)
        verdict = found.verdict(most_difference=0.1)
        assert [gap.metric for gap in verdict.violations] == [
            "demographic_parity",
            "equal_opportunity",
            "equalized_odds",
        ]
        assert found.verdict(["predictive_parity"]).is_fair

    def test_the_four_fifths_rule(self) -> None:
        """The example of the guidelines' questions and answers (1979, no. 12): 60 and 30 percent are hired, a ratio of one half."""
        found = fairness_of([*counted("white", tp=48, fn=32), *counted("black", tp=12, fn=28)])
        gap = found.gaps["demographic_parity"]
        assert (gap.difference, gap.ratio, gap.lowest, gap.highest) == (0.3, 0.5, "black", "white")
        near = fairness_of([*counted("a", tp=50, fn=50), *counted("b", tp=40, fn=60)])
        assert near.verdict(["demographic_parity"], most_difference=0.2, least_ratio=0.8).is_fair
        assert not near.verdict(["demographic_parity"], most_difference=0.2, least_ratio=0.81).is_fair

    def test_an_interval_of_wilson(self) -> None:
        """81 of 263 (Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3)."""
        found = fairness_of([*counted("a", tp=81, fn=182), *counted("b", tp=1, fn=1)])
        low, high = found.groups["a"].selected.interval or (0.0, 0.0)
        assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


counts = st.integers(0, 12)
matrices = st.builds(
    lambda tp, fp, fn, tn: {"tp": tp, "fp": fp, "fn": fn, "tn": tn}, counts, counts, counts, counts
).filter(lambda matrix: any(matrix.values()))


class TestLaws:
    @given(matrices, st.integers(2, 4))
    def test_groups_that_are_alike_are_nothing_apart(self, matrix: dict[str, int], num_groups: int) -> None:
        found = fairness_of([each for n in range(num_groups) for each in counted(f"g{n}", **matrix)])
        for gap in found.gaps.values():
            assert (gap.difference, gap.ratio) in {(0.0, 1.0), (None, None)}

    @given(st.lists(matrices, min_size=2, max_size=4), st.randoms(use_true_random=False))
    def test_names_and_order_change_nothing_else(self, matrices: list[dict[str, int]], random: object) -> None:
        names = [f"g{n}" for n in range(len(matrices))]
        others = [f"other {n}" for n in reversed(range(len(matrices)))]
        decisions = [each for name, matrix in zip(names, matrices, strict=True) for each in counted(name, **matrix)]
        renamed = [each for name, matrix in zip(others, matrices, strict=True) for each in counted(name, **matrix)]
        random.shuffle(renamed)  # type: ignore[attr-defined]  # a Random
        assert measured(fairness_of(decisions)) == measured(fairness_of(renamed))

    @given(st.lists(matrices, min_size=2, max_size=4))
    def test_measures_are_the_formulas(self, matrices: list[dict[str, int]]) -> None:
        found = fairness_of([each for n, matrix in enumerate(matrices) for each in counted(f"g{n}", **matrix)])

        def spread(of: list[tuple[int, int]]) -> float | None:
            rates = [count / total for count, total in of if total]
            return max(rates) - min(rates) if len(rates) > 1 else None

        selected = spread([(m["tp"] + m["fp"], sum(m.values())) for m in matrices])
        hits = spread([(m["tp"], m["tp"] + m["fn"]) for m in matrices])
        alarms = spread([(m["fp"], m["fp"] + m["tn"]) for m in matrices])
        precise = spread([(m["tp"], m["tp"] + m["fp"]) for m in matrices])
        odds = None if hits is None or alarms is None else max(hits, alarms)
        assert [found.gaps[metric].difference for metric in FAIRNESS_METRICS] == [selected, hits, odds, precise]

    @given(st.lists(matrices, min_size=2, max_size=4))
    def test_rates_lie_in_their_intervals_and_gaps_between_0_and_1(self, matrices: list[dict[str, int]]) -> None:
        found = fairness_of([each for n, matrix in enumerate(matrices) for each in counted(f"g{n}", **matrix)])
        for group in found.groups.values():
            for rate in (group.base, group.selected, group.true_positive, group.false_positive, group.precision):
                if rate.value is None:
                    assert (rate.count, rate.total, rate.interval) == (0, 0, None)
                    continue
                low, high = rate.interval or (1.0, 0.0)
                assert 0 <= low <= rate.value + 1e-12
                assert rate.value - 1e-12 <= high <= 1
        for gap in found.gaps.values():
            assert gap.difference is None or 0 <= gap.difference <= 1
            assert gap.ratio is None or 0 <= gap.ratio <= 1

    @given(st.lists(matrices, min_size=2, max_size=3), st.integers(2, 5))
    def test_more_of_the_same_narrows_intervals_and_leaves_the_rest(
        self, matrices: list[dict[str, int]], times: int
    ) -> None:
        decisions = [each for n, matrix in enumerate(matrices) for each in counted(f"g{n}", **matrix)]
        once, often = fairness_of(decisions), fairness_of(decisions * times)
        for metric in FAIRNESS_METRICS:
            assert (once.gaps[metric].difference or 0.0) == pytest.approx(often.gaps[metric].difference or 0.0)
        for name, group in once.groups.items():
            (low, high), (lower, higher) = (
                group.selected.interval or (0, 0),
                often.groups[name].selected.interval or (0, 0),
            )
            assert higher - lower < high - low


def measured(found: Fairness) -> list[tuple[float | None, float | None, int]]:
    return [(gap.difference, gap.ratio, len(gap.left_out)) for gap in found.gaps.values()]


class TestAVerdict:
    def test_names_the_groups_that_are_apart(self) -> None:
        found = fairness_of([*counted("a", tp=9, fn=1), *counted("b", tp=5, fn=5), *counted("c", tp=7, fn=3)])
        assert str(found.verdict(["equal_opportunity"])) == (
            "too far apart: equal_opportunity: 0.400 from b (lowest) to a (highest)\nsmall: a, b, c"
        )

    def test_says_what_is_not_known_and_which_groups_are_left_out(self) -> None:
        found = fairness_of([*counted("a", tp=40), *counted("b", fp=20, tn=20)])
        verdict = found.verdict(["equal_opportunity", "equalized_odds"])
        assert [(gap.metric, gap.left_out) for gap in verdict.unknown] == [
            ("equal_opportunity", ("b",)),
            ("equalized_odds", ("a", "b")),
        ]
        assert not verdict.is_fair
        assert str(verdict).startswith("not known: equal_opportunity: fewer than two groups have the rate")

    def test_of_all_within_the_limit_says_so(self) -> None:
        found = fairness_of([*counted("a", tp=30, tn=30), *counted("b", tp=30, tn=30)])
        assert str(found.verdict()) == "all within the limit"

    def test_marks_small_groups_at_the_size_that_is_asked(self) -> None:
        decisions = [*counted("a", tp=5), *counted("b", tp=6)]
        assert fairness_of(decisions, few=6).verdict().small_groups == ("a",)


class TestScores:
    def test_have_a_mean_for_each_group_that_has_some(self) -> None:
        scored = [Decision(group="a", label=True, prediction=True, score=score) for score in (0.5, 1.0, None)]
        found = fairness_of([*scored, *counted("b", tp=1)])
        assert (found.groups["a"].mean_score, found.groups["b"].mean_score) == (0.75, None)


@pytest.mark.parametrize("decisions", [[], counted("a", tp=3)])
def test_one_group_alone_is_refused(decisions: list[Decision]) -> None:
    with pytest.raises(ValueError, match="two groups or more"):
        fairness_of(decisions)
