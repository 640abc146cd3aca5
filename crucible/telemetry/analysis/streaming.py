"""Statistics of a stream in constant memory: moments by Welford's method, quantiles by a t-digest."""

import math

from datasketches import tdigest_double

from crucible.telemetry.analysis.summary import Summary


class RunningStatistics:
    """Mean, spread and quantiles of values that pass by once.

    Moments are exact (Welford, 1962); quantiles are those of a t-digest (Dunning and Ertl, 2019), within about a percent
    of rank in the middle and much closer at the ends. Values that are not finite are counted and left out.

    >>> seen = RunningStatistics()
    >>> for value in range(1, 101):
    ...     seen.add(value)
    >>> seen.mean, round(seen.sd, 3), 49 < seen.quantile(0.5) < 52
    (50.5, 29.011, True)
    """

    def __init__(self, *, compression: int = 200) -> None:
        self._digest = tdigest_double(compression)
        self._squares = 0.0
        self.count = 0
        self.num_not_finite = 0
        self.mean = math.nan
        self.minimum = math.nan
        self.maximum = math.nan

    def add(self, value: float) -> None:
        """Take one value."""
        value = float(value)
        if not math.isfinite(value):
            self.num_not_finite += 1
            return
        self.count += 1
        if self.count == 1:
            self.mean = self.minimum = self.maximum = value
        else:
            before = self.mean
            self.mean += (value - before) / self.count
            self._squares += (value - before) * (value - self.mean)
            self.minimum, self.maximum = min(self.minimum, value), max(self.maximum, value)
        self._digest.update(value)

    @property
    def sd(self) -> float:
        """Sample standard deviation (n - 1); NaN below two values."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else math.nan

    def quantile(self, rank: float) -> float:
        """Give about the value below which a share `rank` (0 to 1) of the values lies; NaN without values."""
        return float(self._digest.get_quantile(rank)) if self.count else math.nan

    def summary(self) -> Summary:
        """Give all of it as a value."""
        return Summary(
            count=self.count,
            num_not_finite=self.num_not_finite,
            mean=self.mean,
            sd=self.sd,
            minimum=self.minimum,
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p95=self.quantile(0.95),
            p99=self.quantile(0.99),
            maximum=self.maximum,
        )
