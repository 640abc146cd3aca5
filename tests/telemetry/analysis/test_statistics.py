"""The statistics, against definitions and published formulas that are written here a second time, in another way."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from crucible.telemetry.analysis import Correction, RunningStatistics, Test, compare, corrected, drift
from tests.telemetry.analysis.test_analysis import normal, skewed, with_p

p_values = st.lists(st.floats(0.0001, 1), min_size=1, max_size=7)


# Corrections


@given(p_values)
@settings(max_examples=60)
def test_holm_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    """Marcus, Peritz and Gabriel, 1976: reject what every intersection that it is part of rejects."""
    count = len(values)
    subsets = [s for size in range(1, count + 1) for s in itertools.combinations(range(count), size)]
    of_subset = {s: min(1.0, len(s) * min(values[i] for i in s)) for s in subsets}
    expected = [max(p for s, p in of_subset.items() if i in s) for i in range(count)]
    assert [it.p_corrected for it in corrected([with_p(p) for p in values], "holm")] == pytest.approx(expected)


@given(p_values, st.floats(0.01, 0.5))
def test_fdr_rejects_what_benjamini_and_hochbergs_procedure_rejects(values: list[float], alpha: float) -> None:
    """Benjamini and Hochberg, 1995: the k smallest, k the largest with p_(k) <= alpha k / m."""
    in_order = sorted(values)
    steps = [(p, alpha * k / len(values)) for k, p in enumerate(in_order, start=1)]
    assume(not any(math.isclose(p, limit) for p, limit in steps))
    limit = max((p for p, limit in steps if p <= limit), default=0.0)
    for it in corrected([with_p(p) for p in values], "fdr"):
        assert (it.p_corrected <= alpha) == (it.p_value <= limit)


@pytest.mark.parametrize(("method", "most"), [("holm", 0.08), ("bonferroni", 0.08)])
def test_false_alarms_of_a_family_are_as_rare_as_promised(method: Correction, most: float) -> None:
    rng = np.random.default_rng(0)
    families = [corrected([with_p(float(p)) for p in rng.uniform(size=5)], method) for _ in range(600)]
    assert 0.02 < np.mean([any(it.is_significant for it in family) for family in families]) < most
    uncorrected = np.mean([any(it.p_value < 0.05 for it in family) for family in families])
    assert uncorrected > 0.18, "without a correction one in five is"


# Effect sizes


@given(st.integers(0, 999), st.integers(3, 25), st.integers(3, 25), st.floats(-2, 2))
@settings(max_examples=50)
def test_hedges_g_is_cohens_d_times_the_exact_correction(seed: int, num_a: int, num_b: int, mean: float) -> None:
    """Hedges, 1981, equation 6e: J(m) = gamma(m/2) / (sqrt(m/2) gamma((m-1)/2))."""
    a, b = normal(seed, num_a), normal(seed + 1000, num_b, mean)
    freedom = num_a + num_b - 2
    squares = sum((x - np.mean(a)) ** 2 for x in a) + sum((x - np.mean(b)) ** 2 for x in b)
    d = (np.mean(b) - np.mean(a)) / math.sqrt(squares / freedom)
    correction = math.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    assert compare(a, b, test="welch").effect_size == pytest.approx(float(d * correction), rel=5e-3, abs=1e-9)


def test_the_effect_of_pairs_is_the_mean_difference_over_its_deviation_and_goes_with_t() -> None:
    a, b = normal(1, 20), normal(2, 20, mean=0.5)
    t = float(stats.ttest_rel(b, a).statistic)
    for test in ("paired_t", "wilcoxon"):
        effect = compare(a, b, paired=True, test="wilcoxon" if test == "wilcoxon" else "paired_t").effect_size
        assert effect == pytest.approx(t / math.sqrt(20))


def test_cohens_h_is_that_of_his_table() -> None:
    half, quarter = [1.0] * 10 + [0.0] * 10, [1.0] * 5 + [0.0] * 15
    assert compare(quarter, half).effect_size == pytest.approx(math.pi / 6)  # Cohen 1988, table 6.2.2: phi .5 and .25
    assert compare(half, quarter).effect_size == pytest.approx(-math.pi / 6)
    assert compare([0.0] * 4, [1.0] * 4).effect_size == pytest.approx(math.pi)


@given(st.lists(st.booleans(), min_size=2, max_size=30), st.lists(st.booleans(), min_size=2, max_size=30))
def test_the_p_value_of_rates_is_the_hypergeometric_sum(a: list[bool], b: list[bool]) -> None:
    wins, total = sum(a) + sum(b), len(a) + len(b)
    likely = [stats.hypergeom.pmf(k, total, wins, len(b)) for k in range(len(b) + 1)]
    expected = sum(p for p in likely if p <= likely[sum(b)] * (1 + 1e-7))
    assert compare([float(x) for x in a], [float(x) for x in b]).p_value == pytest.approx(min(1.0, expected))


# Intervals


@pytest.mark.parametrize(
    ("test", "paired", "draw", "truth"),
    [
        ("welch", False, lambda rng: (rng.normal(0, 1, 12), rng.normal(0.5, 3, 7)), 0.5),
        ("paired_t", True, lambda rng: (rng.normal(0, 1, 9), rng.normal(0.5, 2, 9)), 0.5),
        ("mann_whitney", False, lambda rng: (rng.exponential(1, 40), rng.exponential(1.5, 40)), 0.5),
        ("fisher", False, lambda rng: (rng.random(40) < 0.3, rng.random(50) < 0.8), 0.5),
    ],
)
def test_an_interval_covers_the_truth_as_often_as_it_says(
    test: Test,
    paired: bool,
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]],
    truth: float,
) -> None:
    hits, rounds = 0, 150
    for seed in range(rounds):
        a_N, b_N = draw(np.random.default_rng(seed))
        low, high = compare(a_N.astype(float).tolist(), b_N.astype(float).tolist(), paired=paired, test=test).interval
        hits += low <= truth <= high
    assert 0.89 <= hits / rounds <= 0.995


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.99])
def test_a_surer_interval_is_wider_and_that_of_scipy(confidence: float) -> None:
    a, b = normal(1, 9), normal(2, 14, mean=1.0)
    found = compare(a, b, test="welch", confidence=confidence)
    standard_error = math.hypot(np.std(a, ddof=1) / 3, np.std(b, ddof=1) / math.sqrt(14))
    parts = [(np.var(x, ddof=1) / len(x)) for x in (a, b)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 8 + parts[1] ** 2 / 13)  # Welch and Satterthwaite
    reach = stats.t.ppf((1 + confidence) / 2, freedom) * standard_error
    assert found.interval == pytest.approx((found.difference - reach, found.difference + reach))


# Permutations


@given(st.lists(st.integers(0, 9), min_size=2, max_size=5), st.lists(st.integers(0, 9), min_size=2, max_size=5))
@settings(max_examples=25, deadline=None)
def test_few_values_are_permuted_in_every_way(a: list[int], b: list[int]) -> None:
    """Fisher, 1935: twice the share of the ways to deal the values to the groups that differ as far to the same side."""
    pooled, seen = [*a, *b], np.mean(b) - np.mean(a)
    groups = [set(chosen) for chosen in itertools.combinations(range(len(pooled)), len(b))]
    differences_N = np.array(
        [
            np.mean([pooled[i] for i in group]) - np.mean([x for i, x in enumerate(pooled) if i not in group])
            for group in groups
        ]
    )
    found = compare(a, b, test="permutation")
    tails = np.mean(differences_N <= seen + 1e-9), np.mean(differences_N >= seen - 1e-9)
    assert found.p_value == pytest.approx(min(1.0, 2 * float(min(tails))))
    low, high = found.interval
    assert low - 1e-9 <= found.difference <= high + 1e-9


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=8))
@settings(max_examples=25, deadline=None)
def test_the_signs_of_few_pairs_are_flipped_in_every_way(differences: list[int]) -> None:
    flips = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    found = compare([0.0] * len(differences), differences, paired=True, test="paired_permutation")
    assert found.p_value == pytest.approx(float(np.mean([it >= abs(sum(differences)) for it in flips])))


@pytest.mark.parametrize(("test", "other"), [("permutation", "welch"), ("paired_permutation", "paired_t")])
def test_permutations_of_normal_values_agree_with_the_t_test_and_with_themselves(test: Test, other: Test) -> None:
    a, b = normal(1, 60), normal(2, 60, mean=0.4)
    found = compare(a, b, paired=test != "permutation", test=test)
    expected = compare(a, b, paired=test != "permutation", test=other)
    assert found.p_value == pytest.approx(expected.p_value, abs=0.01)
    assert found == compare(a, b, paired=test != "permutation", test=test)
    assert found.interval == pytest.approx(expected.interval, abs=0.05)


# Streams and drift


def test_welford_keeps_the_spread_of_small_changes_of_a_large_number() -> None:
    values_N = 1e9 + np.random.default_rng(0).normal(0, 1, 5000)
    running = RunningStatistics()
    for value in values_N:
        running.add(float(value))
    assert running.sd == pytest.approx(float(values_N.std(ddof=1)), rel=1e-6)
    assert running.mean == pytest.approx(float(values_N.mean()), rel=1e-15)


@pytest.mark.parametrize("draw", [normal, skewed])
def test_the_digest_is_within_a_percent_of_rank_of_numpy(draw: Callable[[int, int], list[float]]) -> None:
    values = draw(3, 20_000)
    running = RunningStatistics()
    for value in values:
        running.add(value)
    for rank in (0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999):
        low, high = np.quantile(values, [max(0, rank - 0.01), min(1, rank + 0.01)])
        assert low <= running.quantile(rank) <= high


def test_the_population_stability_index_is_the_sum_of_its_definition() -> None:
    reference, current = normal(0, 400), normal(1, 300, mean=0.4)
    edges = [-math.inf, *np.quantile(reference, [0.1 * k for k in range(1, 10)]), math.inf]
    index = 0.0
    for low, high in itertools.pairwise(edges):
        then, now = (
            max(0.5, sum(low <= value < high for value in sample)) / len(sample) for sample in (reference, current)
        )
        index += (now - then) * math.log(now / then)
    found = drift(reference, current)
    assert found.population_stability == pytest.approx(index)
    assert found.p_value == pytest.approx(float(stats.ks_2samp(reference, current).pvalue))
    shift = (np.mean(current) - np.mean(reference)) / np.std(reference, ddof=1)
    assert found.mean_shift == pytest.approx(float(shift))


@pytest.mark.parametrize("size", [50, 500])
def test_drift_where_there_is_none_is_seen_as_rarely_as_its_p_value_says(size: int) -> None:
    alarms = [drift(normal(seed, size), normal(seed + 5000, size)).p_value < 0.05 for seed in range(150)]
    assert np.mean(alarms) < 0.1


# What a test is not for


@pytest.mark.parametrize("test", ["paired_t", "wilcoxon", "paired_permutation"])
def test_a_test_of_pairs_needs_pairs(test: Test) -> None:
    with pytest.raises(ValueError, match="give paired=True"):
        compare([1.0, 2.0, 4.0], [2.0, 3.0], test=test)


def test_a_test_of_rates_needs_rates() -> None:
    with pytest.raises(ValueError, match="must be 0 or 1"):
        compare([1.0, 2.0], [0.0, 1.0], test="fisher")
