"""Axes: from values to places in a drawing, and the values at which to write a label."""

import math
from collections.abc import Sequence

import attrs

DRAWABLE = 1e150
"""Values beyond it are marked like infinities: their differences would not be numbers."""


@attrs.frozen(kw_only=True)
class Scale:
    """An axis from `low` to `high`, drawn from `start` to `end`; logarithmic where `is_log`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Give the place of a value.

        >>> Scale(low=0.0, high=10.0, start=100.0, end=0.0).at(2.5)
        75.0
        >>> round(Scale(low=1.0, high=100.0, start=0.0, end=200.0, is_log=True).at(10.0), 9)
        100.0
        """
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int) -> tuple[float, ...]:
        """Give about so many round values on the axis.

        >>> Scale(low=0.0, high=10.0, start=0.0, end=1.0).ticks(4)
        (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
        >>> Scale(low=0.002, high=300.0, start=0.0, end=1.0, is_log=True).ticks(6)
        (0.01, 0.1, 1.0, 10.0, 100.0)
        """
        if self.is_log:
            decades = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            if len(decades) > 1:
                return tuple(10.0**power for power in decades[:: max(1, round(len(decades) / wanted))])
        step = _round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(round(count * step, 12 - math.floor(math.log10(step))) for count in range(first, last + 1))


def fitted(values: Sequence[float], *, start: float, end: float, margin: float = 0.05) -> Scale:
    """Make the axis on which all of some finite values lie, with a margin as a share of its length on both sides.

    >>> fitted([1.0, 3.0], start=0.0, end=10.0, margin=0.0).at(2.0)
    5.0
    >>> fitted([2.0], start=0.0, end=10.0).at(2.0)
    5.0
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    spread = high - low
    if spread <= max(abs(low), abs(high)) * 1e-9 or spread < _TINY:
        spread = abs(high) if abs(high) > _TINY else 1.0
        return Scale(low=low - spread / 2, high=high + spread / 2, start=start, end=end)
    return Scale(low=low - spread * margin, high=high + spread * margin, start=start, end=end)


def fitted_log(values: Sequence[float], *, start: float, end: float) -> Scale | None:
    """Make a logarithmic axis; None where it would show nothing new: values of one size, or not above zero."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low < _TINY or high / low < _WORTH_A_LOG:
        return None
    margin = (high / low) ** 0.04
    return Scale(low=low / margin, high=high * margin, start=start, end=end, is_log=True)


_TINY = 1e-290  # below it, differences and ratios of numbers are no numbers any more
_WORTH_A_LOG = 5.0


def _round_step(least: float) -> float:
    """Give the least 1, 2 or 5 times a power of ten that is not much below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * 0.8), 10 * power)
