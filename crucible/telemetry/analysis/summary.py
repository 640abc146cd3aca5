"""Summaries: location, spread, percentiles; of a series also trend and best step."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs
import numpy as np
from scipy import stats

from crucible.telemetry.series import Series

Better: TypeAlias = Literal["lower", "higher"]


@attrs.frozen(kw_only=True)
class Summary:
    """What many values are like. NaN and infinities are counted in `num_not_finite` and left out of the rest.

    Args:
        count: finite values.
        mean: of them; NaN when there are none, like everything below.
        sd: sample standard deviation (n - 1); NaN below two values.
        p50: median; percentiles interpolate linearly, as numpy does.
        slope: least-squares trend per step; None where there are no steps.
        best_step: where the best value is, the first of equals; None where there are no steps.
    """

    count: int
    num_not_finite: int
    mean: float
    sd: float
    minimum: float
    p50: float
    p90: float
    p95: float
    p99: float
    maximum: float
    slope: float | None = None
    best_step: int | None = None

    def __str__(self) -> str:
        text = f"{self.mean:.4g} ± {self.sd:.2g} (n={self.count}, {self.minimum:.4g} to {self.maximum:.4g})"
        return text if self.slope is None else f"{text}, {self.slope:+.2g} a step, best at step {self.best_step}"


def summarize(values: Sequence[float]) -> Summary:
    """Describe values.

    >>> summarize([1.0, 2.0, 4.0, float("nan")])
    Summary(count=3, num_not_finite=1, mean=2.33..., sd=1.52..., minimum=1.0, p50=2.0, ..., slope=None, best_step=None)
    """
    all_N = np.asarray(values, dtype=np.float64)
    finite_N = all_N[np.isfinite(all_N)]
    count = len(finite_N)
    percentiles = np.percentile(finite_N, [0, 50, 90, 95, 99, 100]) if count else np.full(6, np.nan)
    minimum, p50, p90, p95, p99, maximum = (float(value) for value in percentiles)
    return Summary(
        count=count,
        num_not_finite=len(all_N) - count,
        mean=float(np.mean(finite_N)) if count else float("nan"),
        sd=float(np.std(finite_N, ddof=1)) if count > 1 else float("nan"),
        minimum=minimum,
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        maximum=maximum,
    )


def summarize_series(series: Series, *, better: Better = "lower") -> Summary:
    """Describe a series: also its trend, and where it was best.

    >>> described = summarize_series(Series(name="loss", steps=(0, 10, 20), values=(3.0, 2.0, 1.0)))
    >>> described.slope, described.best_step
    (-0.1, 20)
    """
    finite = [(step, value) for step, value in zip(series.steps, series.values, strict=True) if np.isfinite(value)]
    steps = [step for step, _ in finite]
    values = [value for _, value in finite]
    sign = 1.0 if better == "lower" else -1.0
    best = min(finite, key=lambda pair: (sign * pair[1], pair[0]), default=None)
    return attrs.evolve(
        summarize(series.values),
        slope=float(stats.linregress(steps, values).slope) if len(finite) > 1 else float("nan"),
        best_step=None if best is None else best[0],
    )
