"""Losses on pairs of answers, the better and the worse: DPO, IPO, SimPO, ORPO, Bradley-Terry.

Data are interleaved: chosen, rejected, chosen, rejected, ... Letters: N sequences, T positions, P pairs (N = 2 P). With c and
r for the scores of the chosen and of the rejected sequence (log-probability; with a reference, its logarithmic ratio to the
reference's), each loss is a function of c and r, averaged over pairs. Here s(x) = 1 / (1 + exp(-x)).

A rejected sequence that cannot be (r = -inf) is lost for good: the losses that saturate give it their limit, with no slope.
A loss whose limit is infinite (a chosen sequence that cannot be; IPO) is infinite, and refused as NonFiniteLoss.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import attrs

from crucible.train.algorithms.sequences import averaging_weights, sequence_logprobs, spread
from crucible.train.algorithms.stable import log_odds, log_odds_slope, log_sigmoid, sigmoid, times
from crucible.train.custom_loss import CustomLossOutput


@attrs.frozen(kw_only=True)
class Pairs:
    """What a preference loss knows of its batch.

    Args:
        weights_NT: which positions of each sequence count, as the batch's own weights (`weights_of`).
        reference_N: the reference policy's `sequence_logprobs`, with the same weights; 0 for each when there is none.

    Raises: ValueError when the number of sequences is odd, or the lengths differ.
    """

    weights_NT: tuple[tuple[float, ...], ...]
    reference_N: tuple[float, ...] = attrs.field()

    @reference_N.default
    def _no_reference(self) -> tuple[float, ...]:
        return (0.0,) * len(self.weights_NT)

    def __attrs_post_init__(self) -> None:
        if len(self.weights_NT) % 2 or not self.weights_NT:
            raise ValueError(f"pairs are chosen, rejected, chosen, ...: not {len(self.weights_NT)} sequences")
        if len(self.reference_N) != len(self.weights_NT):
            raise ValueError(f"{len(self.reference_N)} reference scores for {len(self.weights_NT)} sequences")


class PairTerm(NamedTuple):
    """The loss of a pair, its derivatives by the two scores, and the rewards that the loss gives them."""

    loss: float
    chosen_slope: float
    rejected_slope: float
    chosen_reward: float
    rejected_reward: float


@attrs.frozen(kw_only=True)
class Dpo:
    """Direct preference optimisation: -(1 - e) log s(beta (c - r)) - e log s(beta (r - c)).

    Rafailov et al. 2023, arXiv 2305.18290, eq. 7; label smoothing e: Mitchell 2023, "A note on DPO with noisy preferences".
    Rewards are beta times the logarithmic ratio to the reference.

    >>> pairs = Pairs(weights_NT=((1.0,), (1.0,)), reference_N=(-1.0, -1.0))
    >>> output = Dpo(pairs=pairs, beta=0.5)([(-1.0,), (-1.0,)])
    >>> round(output.loss, 6), output.gradients
    (0.693147, ((-0.25,), (0.25,)))
    """

    pairs: Pairs
    beta: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    label_smoothing: float = attrs.field(default=0.0, validator=[attrs.validators.ge(0), attrs.validators.lt(0.5)])

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        return _over_pairs(self.pairs, logprobs, self._term)

    def _term(self, chosen: float, rejected: float) -> PairTerm:
        margin, wrong = self.beta * (chosen - rejected), self.label_smoothing
        loss = times(wrong - 1, log_sigmoid(margin)) - times(wrong, log_sigmoid(-margin))
        slope = self.beta * (wrong * sigmoid(margin) - (1 - wrong) * sigmoid(-margin))
        return PairTerm(loss, slope, -slope, self.beta * chosen, self.beta * rejected)


@attrs.frozen(kw_only=True)
class Ipo:
    """Identity preference optimisation: (c - r - 1 / (2 beta))^2; beta is the paper's tau.

    Azar et al. 2023, arXiv 2310.12036, eq. 17. With `average`, scores are means over tokens, not sums: the paper does not
    say so, but TRL has it from its authors that its results are of that form.

    >>> Ipo(pairs=Pairs(weights_NT=((1.0,), (1.0,))), beta=0.5)([(-1.0,), (-2.0,)]).loss
    0.0
    """

    pairs: Pairs
    beta: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    average: bool = True

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        return _over_pairs(self.pairs, logprobs, self._term, average=self.average)

    def _term(self, chosen: float, rejected: float) -> PairTerm:
        gap = chosen - rejected - 1 / (2 * self.beta)
        return PairTerm(gap * gap, 2 * gap, -2 * gap, self.beta * chosen, self.beta * rejected)


@attrs.frozen(kw_only=True)
class SimPo:
    """Simple preference optimisation, without a reference: -log s(beta (c - r) - gamma), scores being means over tokens.

    Meng et al. 2024, arXiv 2405.14734, eq. 6.

    >>> round(SimPo(weights_NT=((1.0,), (1.0,)), beta=2.0, gamma=2.0)([(-1.0,), (-2.0,)]).loss, 6)
    0.693147
    """

    weights_NT: tuple[tuple[float, ...], ...]
    beta: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    gamma: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        return _over_pairs(Pairs(weights_NT=self.weights_NT), logprobs, self._term, average=True)

    def _term(self, chosen: float, rejected: float) -> PairTerm:
        margin = self.beta * (chosen - rejected) - self.gamma
        slope = -self.beta * sigmoid(-margin)
        return PairTerm(-log_sigmoid(margin), slope, -slope, self.beta * chosen, self.beta * rejected)


@attrs.frozen(kw_only=True)
class Orpo:
    """Odds-ratio preference optimisation: -c - coef log s(log_odds(c) - log_odds(r)), scores being means over tokens.

    Hong, Lee and Thorne 2024, arXiv 2403.07691, eq. 6 and 7; no reference. `coef` is the paper's lambda. A mean
    probability is taken to be at most 1 - 1e-7, so that the odds are finite.

    >>> import math
    >>> loss = Orpo(weights_NT=((1.0,), (1.0,)), coef=1.0)([(math.log(0.5),), (math.log(0.5),)]).loss
    >>> round(loss - 2 * math.log(2), 12)
    0.0
    """

    weights_NT: tuple[tuple[float, ...], ...]
    coef: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        return _over_pairs(Pairs(weights_NT=self.weights_NT), logprobs, self._term, average=True)

    def _term(self, chosen: float, rejected: float) -> PairTerm:
        ratio = log_odds(chosen) - log_odds(rejected)
        pull = self.coef * sigmoid(-ratio)
        return PairTerm(
            loss=-chosen - times(self.coef, log_sigmoid(ratio)),
            chosen_slope=-1.0 - pull * log_odds_slope(chosen),
            rejected_slope=pull * log_odds_slope(rejected),
            chosen_reward=times(self.coef, chosen),
            rejected_reward=times(self.coef, rejected),
        )


@attrs.frozen(kw_only=True)
class BradleyTerry:
    """Reward modelling: -log s(c - r - margin) + centring (c + r)^2, the scores being the rewards.

    Bradley and Terry 1952; as a loss of reward models Ouyang et al. 2022, arXiv 2203.02155, eq. 1; `margin` Touvron et al.
    2023, arXiv 2307.09288, eq. 2; `centring` Eisenstein et al. 2023, arXiv 2312.09244.

    A backend that gives log-probabilities has no scalar head, so the reward is `scale` times the weighted sum of
    log-probabilities: let the weights pick the verdict token of a prompt that asks for one, and exp(reward) is its
    probability.

    >>> round(BradleyTerry(weights_NT=((1.0,), (1.0,)))([(-1.0,), (-1.0,)]).loss, 6)
    0.693147
    """

    weights_NT: tuple[tuple[float, ...], ...]
    scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    margin: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    centring: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        return _over_pairs(Pairs(weights_NT=self.weights_NT), logprobs, self._term)

    def _term(self, chosen: float, rejected: float) -> PairTerm:
        better, worse = self.scale * chosen, self.scale * rejected
        gap, total = better - worse - self.margin, better + worse
        pull, hold = -self.scale * sigmoid(-gap), 2 * self.scale * times(self.centring, total)
        loss = -log_sigmoid(gap) + times(self.centring, total * total)
        return PairTerm(loss, pull + hold, hold - pull, better, worse)


def _over_pairs(
    pairs: Pairs,
    logprobs_NT: Sequence[Sequence[float]],
    term: Callable[[float, float], PairTerm],
    *,
    average: bool = False,
) -> CustomLossOutput:
    """Average the loss over pairs, and carry its derivatives to the tokens."""
    averaged_NT = averaging_weights(pairs.weights_NT)
    weights_NT = averaged_NT if average else pairs.weights_NT
    sizes_N = [sum(weights) or 1.0 for weights in pairs.weights_NT] if average else [1.0] * len(weights_NT)
    policy_N = sequence_logprobs(logprobs_NT, weights_NT)
    scores_N = [p - q / size for p, q, size in zip(policy_N, pairs.reference_N, sizes_N, strict=True)]
    terms_P = [term(chosen, rejected) for chosen, rejected in zip(scores_N[::2], scores_N[1::2], strict=True)]
    count = len(terms_P)
    slopes_N = [slope / count for each in terms_P for slope in (each.chosen_slope, each.rejected_slope)]
    loss = sum(each.loss for each in terms_P) / count
    return CustomLossOutput(loss=loss, gradients=spread(slopes_N, weights_NT), metrics=_metrics(loss, terms_P))


def _metrics(loss: float, terms_P: Sequence[PairTerm]) -> dict[str, float]:
    count = len(terms_P)
    chosen = sum(term.chosen_reward for term in terms_P) / count
    rejected = sum(term.rejected_reward for term in terms_P) / count
    return {
        "loss": loss,
        "accuracy": sum(term.chosen_reward > term.rejected_reward for term in terms_P) / count,
        "chosen_reward": chosen,
        "rejected_reward": rejected,
        "margin": chosen - rejected,
    }
