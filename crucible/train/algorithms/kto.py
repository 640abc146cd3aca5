"""KTO: preference from single answers that were found good or bad, without pairs.

Letters: N sequences of a batch, T positions of a sequence.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.train.algorithms.preference import Pairs
from crucible.train.algorithms.sequences import sequence_logprobs, spread
from crucible.train.algorithms.stable import sigmoid
from crucible.train.custom_loss import CustomLossOutput

KtoRole: TypeAlias = Literal["desirable", "undesirable", "baseline"]
"""What a sequence is to KTO. A baseline is a prompt with the answer to another: it only shows how far the policy went."""


@attrs.frozen(kw_only=True)
class Kto:
    """Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306).

    With r the logarithmic ratio of a sequence to the reference and z = max(0, mean r of the baselines), which is no
    function to differentiate: desirable_weight (1 - s(beta (r - z))) for a desirable sequence, and
    undesirable_weight (1 - s(beta (z - r))) for an undesirable one, averaged over both. Without baselines z is 0.

    Args:
        weights_NT: which positions of each sequence count.
        reference_N: the reference policy's `sequence_logprobs`.
        roles_N: what each sequence is.

    >>> kto = Kto(weights_NT=((1.0,),), reference_N=(-1.0,), roles_N=("desirable",), beta=0.4)
    >>> kto([(-1.0,)]).loss, kto([(-1.0,)]).gradients
    (0.5, ((-0.1,),))

    Raises: ValueError when lengths differ, or every sequence is a baseline.
    """

    weights_NT: tuple[tuple[float, ...], ...]
    reference_N: tuple[float, ...]
    roles_N: tuple[KtoRole, ...]
    beta: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    desirable_weight: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))
    undesirable_weight: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))

    def __attrs_post_init__(self) -> None:
        sizes = len(self.weights_NT), len(self.reference_N), len(self.roles_N)
        if len(set(sizes)) != 1:
            raise ValueError(f"{sizes[0]} sequences have {sizes[1]} reference scores and {sizes[2]} roles")
        if set(self.roles_N) <= {"baseline"}:
            raise ValueError("KTO needs a sequence that is desirable or undesirable")

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        policy_N = sequence_logprobs(logprobs, self.weights_NT)
        ratios_N = [p - q for p, q in zip(policy_N, self.reference_N, strict=True)]
        shift = _not_below_0(_mean([r for r, role in zip(ratios_N, self.roles_N, strict=True) if role == "baseline"]))
        count = sum(role != "baseline" for role in self.roles_N)
        loss, slopes_N = 0.0, []
        for ratio, role in zip(ratios_N, self.roles_N, strict=True):
            sign, weight = self._side(role)
            doubt = sigmoid(-sign * self.beta * (ratio - shift))
            loss += weight * doubt / count
            slopes_N.append(-sign * weight * self.beta * doubt * (1 - doubt) / count)
        metrics = {"loss": loss, "kl": shift, **self._rewards(ratios_N)}
        return CustomLossOutput(loss=loss, gradients=spread(slopes_N, self.weights_NT), metrics=metrics)

    def _side(self, role: KtoRole) -> tuple[float, float]:
        """Give the sign of what a role wants of the ratio, and how much it counts."""
        if role == "baseline":
            return 1.0, 0.0
        return (1.0, self.desirable_weight) if role == "desirable" else (-1.0, self.undesirable_weight)

    def _rewards(self, ratios_N: Sequence[float]) -> dict[str, float]:
        by_role = list(zip(ratios_N, self.roles_N, strict=True))
        chosen = self.beta * _mean([ratio for ratio, role in by_role if role == "desirable"])
        rejected = self.beta * _mean([ratio for ratio, role in by_role if role == "undesirable"])
        return {"chosen_reward": chosen, "rejected_reward": rejected, "margin": chosen - rejected}


@attrs.frozen(kw_only=True)
class KtoOnPairs:
    """KTO on pairs of answers: the chosen are desirable, the rejected undesirable, and baselines come after all pairs.

    Its metrics tell the share of pairs that are ranked right too, which KTO itself knows nothing of.

    >>> pairs = Pairs(weights_NT=((1.0,), (1.0,)), reference_N=(-1.0, -1.0))
    >>> KtoOnPairs(pairs=pairs)([(-0.5,), (-2.0,)]).metrics["accuracy"]
    1.0

    Args:
        pairs: chosen and rejected in turn, with what the reference thinks of them.
        baselines_NT: the weights of the baselines' positions.
        baseline_reference_N: what the reference thinks of them.
        beta: as in `Kto`.
    """

    pairs: Pairs
    baselines_NT: tuple[tuple[float, ...], ...] = ()
    baseline_reference_N: tuple[float, ...] = ()
    beta: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        """Evaluate the loss."""
        output = self._kto(logprobs)
        policy_N = sequence_logprobs(logprobs[: len(self.pairs.weights_NT)], self.pairs.weights_NT)
        ratios_N = [p - q for p, q in zip(policy_N, self.pairs.reference_N, strict=True)]
        right = [chosen > rejected for chosen, rejected in zip(ratios_N[::2], ratios_N[1::2], strict=True)]
        return attrs.evolve(output, metrics={**output.metrics, "accuracy": sum(right) / len(right)})

    @property
    def _kto(self) -> Kto:
        sides: tuple[KtoRole, ...] = ("desirable", "undesirable")
        beside: tuple[KtoRole, ...] = ("baseline",)
        return Kto(
            weights_NT=(*self.pairs.weights_NT, *self.baselines_NT),
            reference_N=(*self.pairs.reference_N, *self.baseline_reference_N),
            roles_N=(*sides * (len(self.pairs.weights_NT) // 2), *beside * len(self.baselines_NT)),
            beta=self.beta,
        )


def _not_below_0(x: float) -> float:
    """Give max(0, x), and NaN for NaN."""
    return 0.0 if x < 0 else x


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
