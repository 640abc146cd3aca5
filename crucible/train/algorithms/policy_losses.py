"""Policy losses that no backend has by name: a KL term inside the loss, dual clipping, the sequence ratio of GSPO.

Letters: N data of a batch, T positions of a datum. With q the policy that sampled, p the one that is trained, and A the
advantage, r = p / q of a token, whose logarithm is held at 20 (`stable.MAX_LOG_RATIO`).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, get_args

import attrs

from crucible.train.algorithms.aggregation import Aggregation, token_weights
from crucible.train.algorithms.kl import KlEstimator, KlTerm, kl_estimate
from crucible.train.algorithms.stable import Ratio, policy_ratio
from crucible.train.custom_loss import CustomLossOutput
from crucible.train.types.trajectories import PolicyDatum

Rows = tuple[tuple[float, ...], ...]


@attrs.frozen(kw_only=True)
class SampledTokens:
    """What a policy loss knows of its batch: for each position log q, the advantage, and how much it counts (0: nothing).

    Raises: ValueError when the lengths differ.
    """

    old_logprobs_NT: Rows
    advantages_NT: Rows
    weights_NT: Rows

    def __attrs_post_init__(self) -> None:
        shapes = [[len(row) for row in rows] for rows in (self.old_logprobs_NT, self.advantages_NT, self.weights_NT)]
        if shapes[0] != shapes[1] or shapes[0] != shapes[2]:
            raise ValueError(f"log-probabilities, advantages and weights differ in length: {shapes}")


def sampled_tokens(data: Sequence[PolicyDatum], aggregation: Aggregation = Aggregation()) -> SampledTokens:
    """Read what a policy loss needs of data whose advantages are not aggregated yet."""
    return SampledTokens(
        old_logprobs_NT=tuple(datum.logprobs for datum in data),
        advantages_NT=tuple(datum.advantages for datum in data),
        weights_NT=token_weights(data, aggregation),
    )


class _Term(NamedTuple):
    """What one token adds: its loss, the derivative by its log-probability, its ratio, whether that was clipped, its KL."""

    loss: float
    slope: float
    ratio: float
    clipped: bool
    kl: float = 0.0


@attrs.frozen(kw_only=True)
class ClippedSurrogate:
    """PPO's clipped surrogate, -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A), with what may be added to it.

    Schulman et al. 2017, arXiv 1707.06347, eq. 7. With `dual_clip` c > 1 the objective of a token of negative advantage is at
    least c A (Ye et al. 2019, arXiv 1912.09729). With `kl_coef` and a reference, kl_coef times an estimate of
    KL(p, reference) is added for each token: with k3 that is GRPO (Shao et al. 2024, arXiv 2402.03300, eq. 3 and 4).
    Without either it is the built-in loss `ppo`.

    >>> tokens = SampledTokens(old_logprobs_NT=((-1.0,),), advantages_NT=((2.0,),), weights_NT=((0.5,),))
    >>> output = ClippedSurrogate(tokens=tokens)([(-1.0,)])
    >>> output.loss, output.gradients
    (-1.0, ((-1.0,),))

    Raises: ValueError when `kl_coef` is not 0 and there is no reference.
    """

    tokens: SampledTokens
    clip_low: float = attrs.field(default=0.2, validator=attrs.validators.ge(0))
    clip_high: float = attrs.field(default=0.2, validator=attrs.validators.ge(0))
    dual_clip: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(1)))
    kl_coef: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    kl_estimator: KlEstimator = attrs.field(default="k3", validator=attrs.validators.in_(get_args(KlEstimator)))
    reference_NT: Rows = ()

    def __attrs_post_init__(self) -> None:
        if self.kl_coef and len(self.reference_NT) != len(self.tokens.old_logprobs_NT):
            raise ValueError("a KL term needs the reference's log-probabilities of every datum: reference_NT")

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        reference_NT = self.reference_NT if self.kl_coef else self.tokens.old_logprobs_NT
        terms_NT = [
            tuple(map(self._term, *rows))
            for rows in zip(logprobs, self.tokens.old_logprobs_NT, self.tokens.advantages_NT, reference_NT, strict=True)
        ]
        return _added_up(terms_NT, self.tokens.weights_NT, with_kl=self.kl_coef > 0)

    def _term(self, logprob: float, old: float, advantage: float, reference: float) -> _Term:
        ratio, slope = policy_ratio(logprob - old)
        free, held = ratio * advantage, min(max(ratio, 1 - self.clip_low), 1 + self.clip_high) * advantage
        floor = -math.inf if self.dual_clip is None or advantage >= 0 else self.dual_clip * advantage
        gain = max(min(free, held), floor)
        follows = free <= held and free >= floor
        kl = kl_estimate(logprob, reference, self.kl_estimator) if self.kl_coef else KlTerm(0.0, 0.0)
        pull = (-slope * advantage if follows else 0.0) + self.kl_coef * kl.slope
        return _Term(self.kl_coef * kl.value - gain, pull, ratio, clipped=not follows, kl=kl.value)


@attrs.frozen(kw_only=True)
class Gspo:
    """Group sequence policy optimisation: -min(s A, clip(s, 1 - clip_low, 1 + clip_high) A) with the sequence's ratio s.

    s = exp(mean over sampled tokens of log p - log q): one ratio, clipped or not, for all tokens of a datum (Zheng et al. 2025,
    arXiv 2507.18071). Aggregate by `sequence_mean`. Where the advantages of a datum's tokens differ, this is the
    paper's GSPO-token: each token has its own advantage, and the ratio's gradient reaches it alone.

    >>> tokens = SampledTokens(old_logprobs_NT=((-1.0, -1.0),), advantages_NT=((1.0, 1.0),), weights_NT=((0.5, 0.5),))
    >>> Gspo(tokens=tokens)([(-1.0, -1.0)]).gradients
    ((-0.5, -0.5),)
    """

    tokens: SampledTokens
    clip_low: float = attrs.field(default=3e-4, validator=attrs.validators.ge(0))
    clip_high: float = attrs.field(default=4e-4, validator=attrs.validators.ge(0))

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        tokens = self.tokens
        ratios_N = [
            _sequence_ratio(*rows) for rows in zip(logprobs, tokens.old_logprobs_NT, tokens.weights_NT, strict=True)
        ]
        terms_NT = [
            tuple(self._term(ratio, advantage) for advantage in advantages)
            for ratio, advantages in zip(ratios_N, tokens.advantages_NT, strict=True)
        ]
        return _added_up(terms_NT, tokens.weights_NT, with_kl=False)

    def _term(self, ratio: Ratio, advantage: float) -> _Term:
        free, held = ratio.value * advantage, min(max(ratio.value, 1 - self.clip_low), 1 + self.clip_high) * advantage
        slope = -ratio.slope * advantage if free <= held else 0.0
        return _Term(-min(free, held), slope, ratio.value, clipped=free > held)


def _sequence_ratio(logprobs_T: Sequence[float], old_T: Sequence[float], weights_T: Sequence[float]) -> Ratio:
    gaps = [p - q for p, q, weight in zip(logprobs_T, old_T, weights_T, strict=True) if weight]
    return policy_ratio(sum(gaps) / len(gaps) if gaps else 0.0)


def _added_up(terms_NT: Sequence[Sequence[_Term]], weights_NT: Rows, *, with_kl: bool) -> CustomLossOutput:
    """Add the weighted terms up; a position of weight 0 adds nothing, whatever its term."""
    pairs = [list(zip(terms, weights, strict=True)) for terms, weights in zip(terms_NT, weights_NT, strict=True)]
    kept = [term for row in pairs for term, weight in row if weight]
    count = len(kept) or 1
    loss = sum(weight * term.loss for row in pairs for term, weight in row if weight)
    metrics = {
        "loss": loss,
        "clip_fraction": sum(term.clipped for term in kept) / count,
        "ratio_mean": sum(term.ratio for term in kept) / count,
        "ratio_max": max((term.ratio for term in kept), default=1.0),
    }
    kl = {"kl": sum(term.kl for term in kept) / count} if with_kl else {}
    gradients = tuple(tuple(weight * term.slope if weight else 0.0 for term, weight in row) for row in pairs)
    return CustomLossOutput(loss=loss, gradients=gradients, metrics={**metrics, **kl})
