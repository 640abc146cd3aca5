"""Losses by name: pure functions from token logprobs and loss inputs to a loss for each token.

Letters: T scored tokens of a micro-batch. All losses are sums over tokens; r = exp(min(logprob - old logprob, 20)).

- cross_entropy: target_tokens, weights; -weights * logprob
- importance_sampling: target_tokens, logprobs, advantages; -r * A
- ppo: the same; -min(r * A, clip(r) * A), config clip_low_threshold 0.8, clip_high_threshold 1.2 (bounds of r)
- cispo: the same; -stopgrad(clip(r)) * logprob * A, config defaults 0.0 and 4.0
- dro: the same; -(logprob * A - beta / 2 * (logprob - old logprob)^2), config beta 0.05

The policy losses take an optional `weights` array that multiplies the loss of each token; without it the weights are 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import attrs
from torch import Tensor

from crucible.engine.errors import LossConfigError, UnknownLossError

MAX_LOG_RATIO = 20.0
"""Where the logarithm of a policy ratio is held, and has no gradient beyond: as in verl's PPO loss. exp(20) is 4.9e8, which a
float32 can square; exp(88.8) it cannot hold."""

TokenLoss: TypeAlias = Callable[[Tensor, Mapping[str, Tensor], Mapping[str, float]], Tensor]
"""(logprobs_T with a graph, inputs each of shape T, full config) -> loss_T."""


@attrs.frozen(kw_only=True)
class Loss:
    """A named loss.

    Args:
        name: as callers spell it.
        inputs: required float arrays besides target_tokens.
        selects: arrays of which one non-zero entry makes a position a scored one.
        config: known configuration keys with their defaults.
        token_loss: the function itself.
    """

    name: str
    inputs: tuple[str, ...]
    selects: tuple[str, ...]
    config: Mapping[str, float]
    token_loss: TokenLoss

    def configured(self, given: Mapping[str, float]) -> Mapping[str, float]:
        """Return the defaults overridden by `given`. Raises: LossConfigError for an unknown key."""
        unknown = sorted(set(given) - set(self.config))
        if unknown:
            known = ", ".join(sorted(self.config)) or "none"
            raise LossConfigError(f"loss {self.name!r} has no configuration key {', '.join(unknown)}; known: {known}")
        return {**self.config, **given}


def find_loss(name: str) -> Loss:
    """Return the loss of that name. Raises: UnknownLossError, which lists the known ones."""
    if name not in LOSSES:
        raise UnknownLossError(name, LOSSES)
    return LOSSES[name]


def _cross_entropy(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    return -inputs["weights"] * logprobs_T


def _importance_sampling(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    return -_ratio(logprobs_T, inputs) * inputs["advantages"]


def _ppo(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    ratio_T, advantages_T = _ratio(logprobs_T, inputs), inputs["advantages"]
    clipped_T = ratio_T.clamp(config["clip_low_threshold"], config["clip_high_threshold"])
    return -(ratio_T * advantages_T).minimum(clipped_T * advantages_T)


def _cispo(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    ratio_T = _ratio(logprobs_T, inputs).detach()
    clipped_T = ratio_T.clamp(config["clip_low_threshold"], config["clip_high_threshold"])
    return -clipped_T * logprobs_T * inputs["advantages"]


def _dro(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
    distance_T = (logprobs_T - inputs["logprobs"]).square()
    return -(logprobs_T * inputs["advantages"] - 0.5 * config["beta"] * distance_T)


def _ratio(logprobs_T: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    return (logprobs_T - inputs["logprobs"]).clamp(max=MAX_LOG_RATIO).exp()


def _weighted(token_loss: TokenLoss) -> TokenLoss:
    def apply(logprobs_T: Tensor, inputs: Mapping[str, Tensor], config: Mapping[str, float]) -> Tensor:
        loss_T = token_loss(logprobs_T, inputs, config)
        return loss_T * inputs["weights"] if "weights" in inputs else loss_T

    return apply


def _policy(name: str, token_loss: TokenLoss, **config: float) -> Loss:
    # An old logprob marks a sampled token, so its new logprob is returned even where its advantage is zero.
    inputs = ("logprobs", "advantages")
    return Loss(name=name, inputs=inputs, selects=inputs, config=config, token_loss=_weighted(token_loss))


CROSS_ENTROPY = Loss(
    name="cross_entropy", inputs=("weights",), selects=("weights",), config={}, token_loss=_cross_entropy
)

LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        loss.name: loss
        for loss in (
            CROSS_ENTROPY,
            _policy("importance_sampling", _importance_sampling),
            _policy("ppo", _ppo, clip_low_threshold=0.8, clip_high_threshold=1.2),
            _policy("cispo", _cispo, clip_low_threshold=0.0, clip_high_threshold=4.0),
            _policy("dro", _dro, beta=0.05),
        )
    }
)
"""The known losses by name."""
