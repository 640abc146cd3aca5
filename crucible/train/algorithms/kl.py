"""How far a policy is from another, estimated from its own samples; and what that costs a trajectory.

With q the policy that sampled and p the other one, x = log p - log q of a sampled token. Each estimator has the mean KL(q, p)
or nearly so (Schulman 2020, http://joschu.net/blog/kl-approx.html):

- k1 = -x: no bias, much variance, may be negative;
- k2 = x^2 / 2: little bias where the policies are near each other, never negative;
- k3 = exp(x) - 1 - x: no bias, never negative.
"""

import math
import operator
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, assert_never

from crucible.train.algorithms.aggregation import Aggregation, token_weights
from crucible.train.algorithms.stable import MAX_LOG_RATIO, policy_ratio, total
from crucible.train.types.trajectories import PolicyDatum

KlEstimator: TypeAlias = Literal["k1", "k2", "k3"]


class KlTerm(NamedTuple):
    """An estimate for one token, and its derivative by the policy's log-probability of it."""

    value: float
    slope: float


def kl_estimate(logprob: float, other: float, estimator: KlEstimator = "k3") -> KlTerm:
    """Estimate KL(policy, other) at a token that the policy sampled.

    As terms of a loss the derivatives are not alike: that of k1 is 1, whose mean over samples is 0, so it teaches nothing;
    that of k2 has the mean of the KL's own gradient; that of k3 has the gradient of KL(other, policy). In k3, log p - log q
    is held at 20, as all ratios are (`stable.MAX_LOG_RATIO`).

    >>> kl_estimate(-1.0, -3.0, "k1"), kl_estimate(-1.0, -3.0, "k2"), kl_estimate(-1.0, -1.0, "k3")
    (KlTerm(value=2.0, slope=1.0), KlTerm(value=2.0, slope=2.0), KlTerm(value=0.0, slope=0.0))
    """
    gap = other - logprob
    match estimator:
        case "k1":
            return KlTerm(-gap, 1.0)
        case "k2":
            return KlTerm(gap * gap / 2, -gap)
        case "k3":
            held, slope = min(gap, MAX_LOG_RATIO), 0.0 if gap > MAX_LOG_RATIO else 1.0 - policy_ratio(gap).slope
            return KlTerm(max(math.expm1(held) - held, 0.0), slope)
        case _:
            assert_never(estimator)


_TOKEN_SUM = Aggregation(kind="token_sum")


class Penalised(NamedTuple):
    """Data with changed advantages, and the mean KL (k1) for each sampled token that changed them."""

    data: tuple[PolicyDatum, ...]
    kl: float


def kl_penalised(
    data: Sequence[PolicyDatum],
    base_logprobs_NT: Sequence[Sequence[float]],
    *,
    coef: float,
    discount: float = 0.0,
    aggregation: Aggregation = _TOKEN_SUM,
) -> Penalised:
    """Add to each sampled token's advantage coef (mean k - k), where k = log q - log p is its k1 to a base policy.

    As a reward the logarithmic ratio gives the exact gradient of the KL, and centring it over the batch takes variance away
    and leaves their sum as it was (so does tinker-cookbook; Ziegler et al. 2019, arXiv 1909.08593, eq. 2). With a
    `discount` above 0 a token also answers for those after it: the sum of discount^j of the penalty j sampled tokens on.

    Args:
        data: with the log-probabilities of the policy that sampled.
        base_logprobs_NT: the base policy's, one for each position; only those of sampled tokens count.
        aggregation: how the advantages of `data` are aggregated already (`policy_batch` did it as its algorithm says): the
            penalties are weighted alike. Otherwise they would outweigh advantages that were divided by the batch's tokens.
    """
    gaps_NT = _gaps(data, base_logprobs_NT)
    kl = _mean_over_mask(data, gaps_NT)
    penalties_NT = [
        tuple(coef * (kl - gap) if mask else 0.0 for gap, mask in zip(gaps, datum.mask_N, strict=True))
        for datum, gaps in zip(data, gaps_NT, strict=True)
    ]
    return Penalised(_with_added(data, penalties_NT, discount, aggregation), kl)


def reverse_kl_advantages(
    data: Sequence[PolicyDatum],
    teacher_logprobs_NT: Sequence[Sequence[float]],
    *,
    coef: float = 1.0,
    discount: float = 0.0,
    aggregation: Aggregation = _TOKEN_SUM,
) -> Penalised:
    """Add to each sampled token's advantage -coef (log student - log teacher): on-policy distillation.

    The student is rewarded, token by token, with minus the reverse KL to the teacher on what it sampled itself (Agarwal et
    al. 2023, arXiv 2306.13649; Lu and Thinking Machines 2025, "On-policy distillation"). For distillation alone give data
    whose advantages are 0. Train with `importance_sampling`. `discount` and `aggregation` as in
    `kl_penalised`.

    Args:
        data: sampled by the student, with its log-probabilities.
        teacher_logprobs_NT: the teacher's, one for each position; only those of sampled tokens count.
    """
    gaps_NT = _gaps(data, teacher_logprobs_NT)
    rewards_NT = [tuple(-coef * gap for gap in gaps) for gaps in gaps_NT]
    return Penalised(_with_added(data, rewards_NT, discount, aggregation), _mean_over_mask(data, gaps_NT))


def _with_added(
    data: Sequence[PolicyDatum], amounts_NT: Sequence[Sequence[float]], discount: float, aggregation: Aggregation
) -> tuple[PolicyDatum, ...]:
    """Add to the advantage of each sampled token, discounted over the sampled tokens after it too, times its weight."""
    rows = zip(data, amounts_NT, token_weights(data, aggregation), strict=True)
    return tuple(
        datum.with_advantages(
            tuple(
                map(operator.add, datum.advantages, map(operator.mul, _to_go(amounts, datum.mask_N, discount), weights))
            )
        )
        for datum, amounts, weights in rows
    )


def _to_go(amounts_N: Sequence[float], mask_N: Sequence[float], discount: float) -> tuple[float, ...]:
    """Give the sum of discount^j of the amount j sampled tokens on, for each sampled token."""
    total, backwards = 0.0, []
    for amount, mask in zip(reversed(amounts_N), reversed(mask_N), strict=True):
        total = amount + discount * total if mask else total
        backwards.append(total if mask else 0.0)
    return tuple(reversed(backwards))


def _gaps(data: Sequence[PolicyDatum], other_NT: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Give log q - log p of each sampled token, 0 elsewhere."""
    return [
        tuple(q - p if mask else 0.0 for q, p, mask in zip(datum.logprobs, other, datum.mask_N, strict=True))
        for datum, other in zip(data, other_NT, strict=True)
    ]


def _mean_over_mask(data: Sequence[PolicyDatum], values_NT: Sequence[Sequence[float]]) -> float:
    count = sum(sum(map(bool, datum.mask_N)) for datum in data)
    return total(value for values in values_NT for value in values) / (count or 1)
