"""Summaries, comparisons, drift and running statistics, against numpy, scipy, the standard library and published examples."""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crucible.telemetry.analysis import (
    Comparison,
    Correction,
    RunningStatistics,
    Test,
    compare,
    corrected,
    drift,
    summarize,
    summarize_series,
)
from crucible.telemetry.series import Series

numbers = st.floats(-1e6, 1e6)
samples = st.lists(numbers, min_size=2, max_size=40)


def normal(seed: int, count: int, mean: float = 0.0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(mean, 1.0, count)]


def skewed(seed: int, count: int, scale: float = 1.0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).exponential(scale, count) ** 4]


@given(samples)
def test_a_summary_agrees_with_numpy_and_statistics(values: list[float]) -> None:
    found = summarize([*values, math.nan, math.inf])
    assert (found.count, found.num_not_finite) == (len(values), 2)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert found.sd == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.p90 == pytest.approx(float(np.quantile(values, 0.9)))


def test_a_summary_of_nothing_is_not_a_number() -> None:
    found = summarize([])
    assert found.count == 0
    assert all(math.isnan(value) for value in (found.mean, found.sd, found.p50, found.maximum))
    assert summarize_series(Series(name="loss", steps=(), values=())).best_step is None


@pytest.mark.parametrize(("better", "step"), [("lower", 2), ("higher", 1)])
def test_the_best_step_is_the_first_of_equals_and_the_trend_that_of_scipy(better: str, step: int) -> None:
    series = Series(name="x", steps=(0, 1, 2, 3, 4), values=(2.0, 3.0, 1.0, 1.0, math.nan))
    found = summarize_series(series, better="lower" if better == "lower" else "higher")
    assert found.best_step == step
    assert found.slope == pytest.approx(float(np.polyfit([0, 1, 2, 3], [2, 3, 1, 1], 1)[0]))
    assert "a step" in str(found)


@given(samples)
def test_running_statistics_agree_with_those_of_the_whole(values: list[float]) -> None:
    running = RunningStatistics()
    for value in (*values, math.nan):
        running.add(value)
    whole = summarize([*values, math.nan])
    found = running.summary()
    assert (found.count, found.num_not_finite) == (whole.count, 1)
    assert found.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
    assert found.sd == pytest.approx(whole.sd, rel=1e-6, abs=1e-5)
    assert (found.minimum, found.maximum) == (whole.minimum, whole.maximum)
    assert found.minimum <= found.p50 <= found.p99 <= found.maximum


def test_running_quantiles_are_near_the_true_ones_in_rank() -> None:
    values = sorted(normal(0, 20_000))
    running = RunningStatistics()
    for value in normal(0, 20_000):
        running.add(value)
    for rank in (0.01, 0.5, 0.9, 0.99):
        share_below = sum(value <= running.quantile(rank) for value in values) / len(values)
        assert abs(share_below - rank) < 0.02
    assert math.isnan(RunningStatistics().quantile(0.5))


@pytest.mark.parametrize(
    ("a", "b", "paired", "test"),
    [
        (normal(11, 10), normal(12, 12), False, "welch"),
        (skewed(1, 40), skewed(2, 40), False, "welch"),
        (skewed(1, 12), skewed(2, 12), False, "mann_whitney"),
        ([1.0] * 5, [1.0] * 5, False, "fisher"),
        ([2.0] * 5, [2.0] * 5, False, "mann_whitney"),
        ([0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0], False, "fisher"),
        (normal(1, 10), normal(2, 10), True, "paired_t"),
        ([0.0] * 12, skewed(2, 12), True, "wilcoxon"),
        ([2.0] * 5, [2.0] * 5, True, "wilcoxon"),
    ],
)
def test_the_test_fits_the_data(a: list[float], b: list[float], paired: bool, test: str) -> None:
    found = compare(a, b, paired=paired)
    assert found.test == test
    low, high = found.interval
    assert low <= found.difference <= high
    assert 0 <= found.p_value <= 1


@pytest.mark.parametrize(
    ("test", "paired", "oracle"),
    [
        ("welch", False, lambda a, b: stats.ttest_ind(a, b, equal_var=False).pvalue),
        ("mann_whitney", False, lambda a, b: stats.mannwhitneyu(a, b).pvalue),
        ("paired_t", True, lambda a, b: stats.ttest_rel(a, b).pvalue),
        ("wilcoxon", True, lambda a, b: stats.wilcoxon(a, b).pvalue),
    ],
)
def test_p_values_are_those_of_scipy(
    test: Test,
    paired: bool,
    oracle: Callable[[list[float], list[float]], float],
) -> None:
    a, b = normal(3, 25), normal(4, 25, mean=0.6)
    found = compare(a, b, paired=paired, test=test)
    assert found.p_value == pytest.approx(oracle(a, b))


def test_a_bootstrap_interval_agrees_with_scipys() -> None:
    a, b = skewed(5, 20), skewed(6, 20, scale=1.2)
    found = compare(a, b, test="mann_whitney")
    expected = stats.bootstrap(
        (b, a), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis), method="percentile", rng=0
    ).confidence_interval
    width = float(expected.high - expected.low)
    assert found.interval == pytest.approx((float(expected.low), float(expected.high)), abs=0.08 * width)


def test_the_interval_of_rates_is_that_of_newcombes_example() -> None:
    a = [1.0] * 48 + [0.0] * 32
    b = [1.0] * 56 + [0.0] * 14
    found = compare(a, b)
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)  # Newcombe 1998, table II, method 10


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        low, high = compare(normal(seed, 8), normal(seed + 1000, 8, mean=0.5)).interval
        hits += low <= 0.5 <= high
    assert 180 <= hits <= 199


spread = st.lists(st.integers(0, 1000), min_size=2, max_size=40, unique=True)


@given(spread, spread)
def test_swapping_the_samples_turns_the_difference_around(a: list[int], b: list[int]) -> None:
    there, back = compare(a, b, test="welch"), compare(b, a, test="welch")
    assert there.difference == pytest.approx(-back.difference)
    assert there.effect_size == pytest.approx(-back.effect_size, nan_ok=True)


@pytest.mark.parametrize(
    ("a", "b", "paired", "message"),
    [
        ([1.0], [1.0, 2.0], False, "sample a has 1 values"),
        ([1.0, 2.0], [1.0, math.nan], False, "sample b has NaN"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], True, "one length"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: list[float], b: list[float], paired: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(a, b, paired=paired)


@pytest.mark.parametrize(("test", "paired"), [("welch", False), ("paired_t", True)])
def test_a_t_test_of_values_that_are_all_alike_is_refused(test: Test, paired: bool) -> None:
    with pytest.raises(ValueError, match="needs spread"):
        compare([1.0, 1.0], [2.0, 2.0], paired=paired, test=test)


def with_p(value: float) -> Comparison:
    return Comparison(
        test="welch", num_a=2, num_b=2, mean_a=0, mean_b=1, difference=1, interval=(0, 2), confidence=0.95,
        effect_size=1, p_value=value, p_corrected=value,
    )  # fmt: skip


def test_corrections_are_those_of_the_textbook() -> None:
    found = [with_p(value) for value in (0.01, 0.04, 0.03, 0.005)]
    assert [it.p_corrected for it in corrected(found, "bonferroni")] == pytest.approx([0.04, 0.16, 0.12, 0.02])
    assert [it.p_corrected for it in corrected(found, "holm")] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [it.p_corrected for it in corrected(found, "fdr")] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert [it.is_significant for it in corrected(found)] == [True, False, False, True]
    assert corrected([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_no_correction_makes_a_p_value_smaller_or_changes_the_order(values: list[float]) -> None:
    found = [with_p(value) for value in values]
    methods: tuple[Correction, ...] = ("holm", "bonferroni", "fdr")
    for method in methods:
        after = corrected(found, method)
        pairs = sorted((it.p_value, it.p_corrected) for it in after)
        assert all(value <= p_corrected <= 1 for value, p_corrected in pairs)
        assert [p for _, p in pairs] == sorted(p for _, p in pairs)


def test_drift_is_seen_where_there_is_some_and_only_there() -> None:
    same = drift(normal(0, 500), normal(1, 500))
    moved = drift(normal(0, 500), normal(1, 500, mean=1.0))
    assert same.p_value > 0.01
    assert moved.p_value < 1e-6
    assert same.population_stability < 0.1
    assert moved.population_stability > 0.25
    assert moved.mean_shift == pytest.approx(1.0, abs=0.2)
    assert moved.statistic == pytest.approx(float(stats.ks_2samp(normal(0, 500), normal(1, 500, mean=1.0)).statistic))
    assert drift([1.0] * 10, [2.0] * 10).mean_shift == math.inf
    with pytest.raises(ValueError, match="current has 3 finite values"):
        drift(range(10), range(3))
