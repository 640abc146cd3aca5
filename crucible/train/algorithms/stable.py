"""Exponentials and logarithms that neither overflow nor lose their digits: finite numbers in, finite numbers out."""

import math
from collections.abc import Iterable

MAX_EXPONENT = 80.0
"""Beyond it an exponential is held at `exp(80)`, about 5.5e34: still a float32, and no policy is that far from another."""

_LEAST_DOUBT = 1e-7
"""A probability is never taken to be nearer to 1 than this, the resolution of the float32 that backends answer in."""


def bounded_exp(x: float) -> float:
    """Give exp(min(x, 80)).

    >>> bounded_exp(0.0), bounded_exp(1e9) == bounded_exp(80.0)
    (1.0, True)
    """
    return math.exp(min(x, MAX_EXPONENT))


def sigmoid(x: float) -> float:
    """Give 1 / (1 + exp(-x)).

    >>> sigmoid(0.0), sigmoid(-1e9), sigmoid(1e9)
    (0.5, 0.0, 1.0)
    """
    small = math.exp(-abs(x))
    return 1.0 / (1.0 + small) if x >= 0 else small / (1.0 + small)


def log_sigmoid(x: float) -> float:
    """Give log(sigmoid(x)); far below 0 it is x, never minus infinity.

    >>> log_sigmoid(-1e9), round(log_sigmoid(0.0), 6)
    (-1000000000.0, -0.693147)
    """
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def log_odds(logprob: float) -> float:
    """Give log(p / (1 - p)) of the probability p = exp(logprob), which is taken to be at most 1 - 1e-7.

    >>> round(log_odds(math.log(0.5)), 9), round(log_odds(math.log(0.8)) - math.log(4), 9)
    (0.0, 0.0)
    """
    held = min(logprob, -_LEAST_DOUBT)
    # log(1 - exp(x)), by whichever of two forms keeps its digits (Maechler 2012).
    rest = math.log(-math.expm1(held)) if held > -math.log(2) else math.log1p(-math.exp(held))
    return held - rest


def log_odds_slope(logprob: float) -> float:
    """Give the derivative of `log_odds`, 1 / (1 - p).

    >>> round(log_odds_slope(math.log(0.75)), 9)
    4.0
    """
    return -1.0 / math.expm1(min(logprob, -_LEAST_DOUBT))


def log_sum_exp(values: Iterable[float]) -> float:
    """Give log(sum(exp(value))).

    >>> round(log_sum_exp([math.log(0.25), math.log(0.5)]) - math.log(0.75), 12), log_sum_exp([-1e9, -2e9])
    (0.0, -1000000000.0)

    Raises: ValueError when there is no value.
    """
    kept = tuple(values)
    top = max(kept)
    return top + math.log(math.fsum(math.exp(value - top) for value in kept))
