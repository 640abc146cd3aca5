"""Drift: whether values now come from where values came from before."""

from collections.abc import Sequence

import attrs
import numpy as np
from scipy import stats

from crucible.telemetry.analysis.comparison import Floats


@attrs.frozen(kw_only=True)
class Drift:
    """How far the current values are from the reference.

    Args:
        statistic: largest distance between the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.
        p_value: of that distance when nothing has changed.
        population_stability: population stability index over the reference's tenths; below 0.1 is usually called stable, above
            0.25 a shift.
        mean_shift: change of the mean in reference standard deviations.
    """

    statistic: float
    p_value: float
    population_stability: float
    mean_shift: float


def drift(reference: Sequence[float], current: Sequence[float]) -> Drift:
    """Measure how far `current` is from `reference`; both need ten finite values or more.

    Raises: ValueError for fewer.

    >>> same = drift(range(100), range(100))
    >>> moved = drift(range(100), range(50, 150))
    >>> same.statistic, moved.statistic, same.population_stability < 0.1 < 0.25 < moved.population_stability
    (0.0, 0.5, True)
    """
    reference_N, current_N = _finite(reference, "reference"), _finite(current, "current")
    found = stats.ks_2samp(reference_N, current_N)
    sd = float(reference_N.std(ddof=1))
    shift = float(current_N.mean() - reference_N.mean())
    return Drift(
        statistic=float(found.statistic),
        p_value=float(found.pvalue),
        population_stability=_population_stability(reference_N, current_N),
        mean_shift=shift / sd if sd else float(np.copysign(np.inf, shift)) if shift else 0.0,
    )


def _finite(values: Sequence[float], name: str) -> Floats:
    all_N = np.asarray(values, dtype=np.float64)
    finite_N = all_N[np.isfinite(all_N)]
    if len(finite_N) < 10:
        raise ValueError(f"{name} has {len(finite_N)} finite values: drift needs ten or more")
    return finite_N


def _population_stability(reference_N: Floats, current_N: Floats) -> float:
    """Sum (current - reference) * ln(current / reference) over bins; an empty bin counts as half a value."""
    inner = np.unique(np.quantile(reference_N, np.linspace(0.1, 0.9, 9)))
    edges = np.concatenate(([-np.inf], inner, [np.inf]))
    shares = [
        np.maximum(np.histogram(sample_N, edges)[0], 0.5) / len(sample_N) for sample_N in (reference_N, current_N)
    ]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
