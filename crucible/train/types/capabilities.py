"""What a training backend can do, as far as it is known."""

from typing import Literal, TypeAlias, get_args

import attrs

from crucible.fields import AT_LEAST_0, checked

Feature: TypeAlias = Literal["cross_entropy", "policy_losses", "custom_losses", "prompt_logprobs", "top_logprobs"]
"""What a training can need of its backend, besides what every backend has."""

FEATURES: tuple[Feature, ...] = get_args(Feature)

LossReduction: TypeAlias = Literal["sum", "mean", "other", "unknown"]
"""What a backend makes of the losses of tokens: their sum, or the mean over sequences of their mean by weight."""

Divisor: TypeAlias = Literal["positions", "sequences"]
"""Something that a backend divides a policy loss by: the positions of each sequence, the sequences of a step."""


@attrs.frozen(kw_only=True, field_transformer=checked)
class Capabilities:
    """What a backend can do. What is not known is None; the defaults are what the ports promise.

    >>> Capabilities().has("custom_losses")
    True
    >>> averaging = Capabilities(loss_reduction="mean", negative_weights=False, divided_by=None)
    >>> averaging.has("custom_losses"), averaging.losses_are_sums
    (False, False)
    >>> Capabilities(
    ...     loss_reduction="mean", negative_weights=False, divided_by=("positions", "sequences")
    ... ).losses_are_sums
    True

    Args:
        backend: its name, with its version where it tells one.
        known_by: `declared` by the handler or by the user, `probed` now, or `cached` from a probe of the same version.
        trains: whether cross-entropy gives a gradient at all.
        loss_reduction: what it makes of cross-entropy, before anything is done about it.
        negative_weights: whether cross-entropy takes weights below 0, and means them.
        divided_by: what it divides policy losses by. Where that is known, any loss can be sent as one whose gradient is that of
            the sum; None where it is not.
        prompt_logprobs: whether it scores the tokens of a text.
        top_logprobs: whether it tells the likeliest tokens in the place of each token of a text.
        idempotent_submit: whether a request that is sent again is carried out once.
        num_requests: how many requests the probe sent.
        seconds: how long it took.
        notes: what went wrong while it was found out, and what was taken for granted.
    """

    backend: str = "this backend"
    known_by: Literal["declared", "probed", "cached"] = "declared"
    trains: bool | None = True
    loss_reduction: LossReduction = "sum"
    negative_weights: bool | None = True
    divided_by: tuple[Divisor, ...] | None = ()
    prompt_logprobs: bool | None = True
    top_logprobs: bool | None = True
    idempotent_submit: bool | None = True
    num_requests: int = attrs.field(default=0, metadata=AT_LEAST_0)
    seconds: float = attrs.field(default=0.0, metadata=AT_LEAST_0)
    notes: tuple[str, ...] = ()

    @property
    def losses_are_sums(self) -> bool:
        """Whether a loss has the gradient of the sum over tokens, by itself or because the handler sends it so."""
        return self.loss_reduction == "sum" or (self.loss_reduction == "mean" and self.divided_by is not None)

    def has(self, feature: Feature) -> bool | None:
        """Tell whether it has a feature; None where that is not known."""
        match feature:
            case "cross_entropy" | "policy_losses":
                return self.trains
            case "custom_losses":
                return self._custom_losses
            case "prompt_logprobs":
                return self.prompt_logprobs
            case "top_logprobs":
                return self.top_logprobs

    @property
    def _custom_losses(self) -> bool | None:
        """A custom loss is sent as weights of either sign: they must be summed and meant, or be sent as a policy loss."""
        if self.divided_by is not None and self.loss_reduction in ("sum", "mean"):
            return self.trains
        if self.loss_reduction == "sum":
            return self.negative_weights
        return None if self.loss_reduction == "unknown" else False

    def __str__(self) -> str:
        """Say in one line what is known.

        >>> print(
        ...     Capabilities(
        ...         loss_reduction="mean", negative_weights=False, divided_by=("positions",), top_logprobs=False
        ...     )
        ... )
        losses: mean, sent so that they are sums; custom losses: yes; prompt logprobs: yes; top logprobs: no; idempotent submit: yes
        """
        undone = ", sent so that they are sums" if self.loss_reduction != "sum" and self.losses_are_sums else ""
        answers = {
            "custom losses": self.has("custom_losses"),
            "prompt logprobs": self.prompt_logprobs,
            "top logprobs": self.top_logprobs,
            "idempotent submit": self.idempotent_submit,
        }
        shown = "; ".join(f"{name}: {_SHOWN[answer]}" for name, answer in answers.items())
        return f"losses: {self.loss_reduction}{undone}; {shown}"


_SHOWN = {True: "yes", False: "no", None: "not known"}
