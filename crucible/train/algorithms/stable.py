"""Exponentials and logarithms that neither overflow nor lose their digits: finite numbers in, finite numbers out."""

import math
from collections.abc import Iterable
from typing import NamedTuple

MAX_LOG_RATIO = 20.0
"""Where the logarithm of a policy ratio is held, in every loss and metric: as in verl's PPO loss and KL penalty. exp(20) is
4.9e8, which a float32 can square; exp(88.8) it cannot hold. No policy that learns is that far from the one that sampled."""

_LEAST_DOUBT = 1e-7
"""A probability is never taken to be nearer to 1 than this, the resolution of the float32 that backends answer in."""


class Ratio(NamedTuple):
    """p / q of a token under two policies, and its derivative by log p."""

    value: float
    slope: float


def policy_ratio(log_ratio: float) -> Ratio:
    """Give exp(min(x, 20)) and its derivative by x = log p - log q, which is 0 where x is held. NaN stays NaN.

    >>> policy_ratio(0.0), policy_ratio(1e9) == Ratio(math.exp(20), 0.0), policy_ratio(-math.inf)
    (Ratio(value=1.0, slope=1.0), True, Ratio(value=0.0, slope=0.0))
    """
    value = math.exp(min(log_ratio, MAX_LOG_RATIO))
    return Ratio(value, 0.0 if log_ratio > MAX_LOG_RATIO else value)


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


def times(factor: float, x: float) -> float:
    """Give factor * x, and 0 where the factor is 0 whatever x is: nothing of infinity is nothing.

    >>> times(0.0, -math.inf), times(2.0, -3.0)
    (0.0, -6.0)
    """
    return factor * x if factor else 0.0


def total(values: Iterable[float]) -> float:
    """Give the exact sum of finite numbers, and infinity or NaN where plain addition does.

    >>> total([0.1] * 10), total([1.0, math.inf]), total([math.inf, -math.inf]), total([1e308] * 2)
    (1.0, inf, nan, inf)
    """
    kept = tuple(values)
    try:
        return math.fsum(kept)
    except (OverflowError, ValueError):
        return sum(kept)


def log_sum_exp(values: Iterable[float]) -> float:
    """Give log(sum(exp(value))).

    >>> round(log_sum_exp([math.log(0.25), math.log(0.5)]) - math.log(0.75), 12), log_sum_exp([-1e9, -2e9])
    (0.0, -1000000000.0)
    >>> log_sum_exp([-math.inf, -math.inf])
    -inf

    Raises: ValueError when there is no value.
    """
    kept = tuple(values)
    top = max(kept)
    if math.isinf(top):  # all are impossible, or one is beyond every number: there is nothing to add to it
        return top
    return top + math.log(math.fsum(math.exp(value - top) for value in kept))
