"""Comparisons of two samples: the difference, how sure it is, how large it is, and the test that fits the data.

The tests are scipy's. Hedges, "Distribution theory for Glass's estimator of effect size", 1981; Newcombe, "Interval
estimation for the difference between independent proportions", 1998; Holm, "A simple sequentially rejective multiple test
procedure", 1979; Benjamini and Hochberg, "Controlling the false discovery rate", 1995.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
from scipy import stats

Floats: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float]
Test: TypeAlias = Literal[
    "welch", "mann_whitney", "paired_t", "wilcoxon", "fisher", "permutation", "paired_permutation"
]
Correction: TypeAlias = Literal["holm", "bonferroni", "fdr"]

ENOUGH_FOR_MEANS = 30
"""From so many values on, means are taken as normal whatever the values are (central limit theorem)."""
_SHAPIRO_ALPHA = 0.05


@attrs.frozen(kw_only=True)
class Comparison:
    """How sample B differs from sample A.

    Args:
        test: which test gave the p-value.
        difference: mean of B minus mean of A.
        interval: of the difference, at `confidence`.
        effect_size: Hedges' g for two samples, mean over standard deviation of the differences for pairs, Cohen's h for
            rates. About 0.2 is small, 0.5 medium, 0.8 large.
        p_value: two-sided.
        p_corrected: after a correction for several comparisons; the p-value itself before.
    """

    test: Test
    num_a: int
    num_b: int
    mean_a: float
    mean_b: float
    difference: float
    interval: Interval
    confidence: float
    effect_size: float
    p_value: float
    p_corrected: float

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below 1 - confidence."""
        return self.p_corrected < 1 - self.confidence

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.mean_a:.4g} -> {self.mean_b:.4g}: {self.difference:+.4g} [{low:.4g}, {high:.4g}],"
            f" effect {self.effect_size:.2f}, p={self.p_corrected:.3g} ({self.test}, n={self.num_a}/{self.num_b})"
        )


def compare(
    a: Sequence[float],
    b: Sequence[float],
    *,
    paired: bool = False,
    test: Test | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare two samples, by default with the test that fits them.

    Values that are all 0 or 1 are rates: Fisher's exact test. Otherwise means of 30 values or more, or of values that look
    normal (Shapiro-Wilk), are compared by Welch's t-test, pairs by the paired one; other values by rank (Mann-Whitney,
    Wilcoxon), with a bootstrap interval. Choosing a test by looking at the data costs a little of its exactness: name one
    in `test` where that matters. `permutation` and `paired_permutation` compare means and assume no distribution: all ways to
    deal the values to the samples, or to flip the signs of the differences, are tried, or 10,000 of them.

    Args:
        a: the baseline; values of one seed, prompt or step each.
        b: what is compared with it.
        paired: whether `a[i]` and `b[i]` belong together (the same seed, the same prompt).
        test: which test to use whatever the values are like.
        confidence: of the interval.
        seed: of the bootstrap.

    Raises: ValueError for fewer than two values, values that are not finite, pairs of different lengths, a t-test of values
        that are all alike, a test of pairs without `paired`, or one of rates for other values.

    >>> print(compare([1.0, 1.2, 0.9, 1.1], [1.6, 1.5, 1.7, 1.4]))
    1.05 -> 1.55: +0.5 [0.2766, 0.7234], effect 3.37, p=0.00155 (welch, n=4/4)
    """
    a_N, b_N = _sample(a, "a"), _sample(b, "b")
    if paired and len(a_N) != len(b_N):
        raise ValueError(f"pairs need samples of one length, these have {len(a_N)} and {len(b_N)}: give paired=False")
    chosen = test or _fitting(a_N, b_N, paired=paired)
    if chosen in {"paired_t", "wilcoxon", "paired_permutation"} and not paired:
        raise ValueError(f"{chosen} compares pairs: give paired=True where a[i] and b[i] belong together")
    if chosen == "fisher" and not _are_rates(a_N, b_N):
        raise ValueError("fisher compares rates: every value must be 0 or 1")
    p_value, interval, effect = {
        "welch": _welch,
        "mann_whitney": _mann_whitney,
        "paired_t": _paired_t,
        "wilcoxon": _wilcoxon,
        "fisher": _fisher,
        "permutation": _permutation,
        "paired_permutation": _paired_permutation,
    }[chosen](a_N, b_N, confidence, seed)
    return Comparison(
        test=chosen,
        num_a=len(a_N),
        num_b=len(b_N),
        mean_a=float(np.mean(a_N)),
        mean_b=float(np.mean(b_N)),
        difference=float(np.mean(b_N) - np.mean(a_N)),
        interval=interval,
        confidence=confidence,
        effect_size=effect,
        p_value=p_value,
        p_corrected=p_value,
    )


def corrected(comparisons: Sequence[Comparison], method: Correction = "holm") -> tuple[Comparison, ...]:
    """Correct the p-values of comparisons that are looked at together.

    `holm` and `bonferroni` keep the chance of any false alarm, `fdr` the share of false alarms (Benjamini-Hochberg).

    >>> one = compare([1.0, 1.2, 0.9, 1.1], [1.6, 1.5, 1.7, 1.4])
    >>> [round(it.p_corrected / it.p_value, 6) for it in corrected([one, one, one], "bonferroni")]
    [3.0, 3.0, 3.0]
    """
    p_N = np.array([it.p_value for it in comparisons])
    count = len(p_N)
    if count == 0:
        return ()
    if method == "fdr":
        adjusted_N = stats.false_discovery_control(p_N, method="bh")
    elif method == "bonferroni":
        adjusted_N = np.minimum(1.0, p_N * count)
    else:
        order = np.argsort(p_N)
        adjusted_N = np.empty(count)
        adjusted_N[order] = np.minimum(1.0, np.maximum.accumulate(p_N[order] * np.arange(count, 0, -1)))
    return tuple(attrs.evolve(it, p_corrected=float(p)) for it, p in zip(comparisons, adjusted_N, strict=True))


def _sample(values: Sequence[float], name: str) -> Floats:
    sample_N = np.asarray(values, dtype=np.float64)
    if len(sample_N) < 2:
        raise ValueError(
            f"sample {name} has {len(sample_N)} values: a comparison needs two or more (seeds, prompts, steps)"
        )
    if not np.isfinite(sample_N).all():
        raise ValueError(f"sample {name} has NaN or infinite values: leave them out, and say that you did")
    return sample_N


def _fitting(a_N: Floats, b_N: Floats, *, paired: bool) -> Test:
    if paired:
        return "paired_t" if _has_normal_mean(b_N - a_N) else "wilcoxon"
    if _are_rates(a_N, b_N):
        return "fisher"
    return "welch" if _has_normal_mean(a_N) and _has_normal_mean(b_N) else "mann_whitney"


def _are_rates(a_N: Floats, b_N: Floats) -> bool:
    return bool(np.isin(a_N, (0, 1)).all() and np.isin(b_N, (0, 1)).all())


def _has_normal_mean(sample_N: Floats) -> bool:
    if np.ptp(sample_N) == 0:
        return False
    if len(sample_N) >= ENOUGH_FOR_MEANS or len(sample_N) < 3:
        return True
    return bool(stats.shapiro(sample_N).pvalue >= _SHAPIRO_ALPHA)


def _require_spread(*samples: Floats) -> None:
    if not any(np.ptp(sample_N) for sample_N in samples):
        raise ValueError("the values are all alike, and a t-test needs spread: use mann_whitney, or wilcoxon for pairs")


def _welch(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    _require_spread(a_N, b_N)
    result = stats.ttest_ind(b_N, a_N, equal_var=False)
    interval = result.confidence_interval(confidence)
    return float(result.pvalue), (float(interval.low), float(interval.high)), _hedges_g(a_N, b_N)


def _mann_whitney(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    p_value = float(stats.mannwhitneyu(b_N, a_N).pvalue)
    return p_value, _bootstrapped(a_N, b_N, confidence, seed), _hedges_g(a_N, b_N)


def _paired_t(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    _require_spread(b_N - a_N)
    result = stats.ttest_rel(b_N, a_N)
    interval = result.confidence_interval(confidence)
    return float(result.pvalue), (float(interval.low), float(interval.high)), _standardized(b_N - a_N)


def _wilcoxon(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    differences_N = b_N - a_N
    p_value = float(stats.wilcoxon(differences_N).pvalue) if differences_N.any() else 1.0
    return p_value, _bootstrapped_mean(differences_N, confidence, seed), _standardized(differences_N)


def _permutation(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    def difference(b_NS: Floats, a_NS: Floats, axis: int) -> Floats:
        return np.asarray(b_NS.mean(axis=axis) - a_NS.mean(axis=axis))

    result = stats.permutation_test((b_N, a_N), difference, n_resamples=_RESAMPLES, vectorized=True, rng=seed)
    return float(result.pvalue), _bootstrapped(a_N, b_N, confidence, seed), _hedges_g(a_N, b_N)


def _paired_permutation(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    differences_N = b_N - a_N
    result = stats.permutation_test(
        (differences_N,), np.mean, permutation_type="samples", n_resamples=_RESAMPLES, vectorized=True, rng=seed
    )
    return (
        float(result.pvalue),
        _bootstrapped_mean(differences_N, confidence, seed),
        _standardized(differences_N),
    )


def _fisher(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> tuple[float, Interval, float]:
    wins_a, wins_b = int(a_N.sum()), int(b_N.sum())
    table = np.array([[wins_b, len(b_N) - wins_b], [wins_a, len(a_N) - wins_a]])
    rate_a, rate_b = wins_a / len(a_N), wins_b / len(b_N)
    low_a, high_a = stats.binomtest(wins_a, len(a_N)).proportion_ci(confidence, method="wilson")
    low_b, high_b = stats.binomtest(wins_b, len(b_N)).proportion_ci(confidence, method="wilson")
    low = rate_b - rate_a - math.hypot(rate_b - low_b, high_a - rate_a)
    high = rate_b - rate_a + math.hypot(high_b - rate_b, rate_a - low_a)
    cohens_h = 2 * (math.asin(math.sqrt(rate_b)) - math.asin(math.sqrt(rate_a)))
    return float(stats.fisher_exact(table).pvalue), (low, high), cohens_h


_RESAMPLES = 10_000


def _bootstrapped(a_N: Floats, b_N: Floats, confidence: float, seed: int) -> Interval:
    """Give the interval of a difference of means."""
    rng = np.random.default_rng(seed)
    means_b_S = rng.choice(b_N, (_RESAMPLES, len(b_N))).mean(axis=1)
    means_a_S = rng.choice(a_N, (_RESAMPLES, len(a_N))).mean(axis=1)
    return _middle(means_b_S - means_a_S, confidence)


def _bootstrapped_mean(values_N: Floats, confidence: float, seed: int) -> Interval:
    resampled_S = np.random.default_rng(seed).choice(values_N, (_RESAMPLES, len(values_N))).mean(axis=1)
    return _middle(resampled_S, confidence)


def _middle(values_S: Floats, confidence: float) -> Interval:
    """Give the percentile interval of resampled means."""
    low, high = np.quantile(values_S, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _hedges_g(a_N: Floats, b_N: Floats) -> float:
    freedom = len(a_N) + len(b_N) - 2
    pooled = ((len(a_N) - 1) * a_N.var(ddof=1) + (len(b_N) - 1) * b_N.var(ddof=1)) / freedom
    difference = float(b_N.mean() - a_N.mean())
    if pooled == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / math.sqrt(pooled) * (1 - 3 / (4 * freedom - 1))


def _standardized(differences_N: Floats) -> float:
    sd, mean = float(differences_N.std(ddof=1)), float(differences_N.mean())
    if sd == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / sd
