"""The losses of the Tinker API, one token at a time: a loss, and its derivative by the token's log-probability.

Here r = exp(min(logprob - old logprob, 20)), and A is the token's advantage; all losses are sums over tokens.

- cross_entropy: -logprob
- importance_sampling: -r A
- ppo: -min(r A, clip(r) A)
- cispo: -stopgrad(clip(r)) logprob A
- dro: -(logprob A - beta / 2 (logprob - old logprob)^2)

Each is multiplied by the token's weight, where there are weights.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from crucible.effects import Failure, Result, Success
from crucible.train.algorithms.stable import policy_ratio
from crucible.train.errors import InvalidRequest
from crucible.train.types import LossFn


class TokenLoss(NamedTuple):
    """The loss of one token, and its derivative by the token's log-probability."""

    loss: float
    slope: float


Formula: TypeAlias = Callable[[float, float, float], TokenLoss]
"""(log-probability, old log-probability, advantage) to a loss."""


class Loss(NamedTuple):
    """A configured loss and the arrays that it needs besides `target_tokens`."""

    inputs: tuple[str, ...]
    formula: Formula


def configured(loss_fn: LossFn, config: Mapping[str, float] | None) -> Result[Loss, InvalidRequest]:
    """Give the loss named `loss_fn` with `config` over its defaults; a name or key that is not known is an error."""
    if loss_fn not in _DEFAULTS:
        return Failure(InvalidRequest(message=f"unknown loss_fn {loss_fn!r}", fix=nearest(loss_fn, _DEFAULTS)))
    defaults = _DEFAULTS[loss_fn]
    for key in config or {}:
        if key not in defaults:
            message = f"{loss_fn} has no setting {key!r} in loss_fn_config"
            return Failure(InvalidRequest(message=message, fix=nearest(key, defaults)))
    inputs = () if loss_fn == "cross_entropy" else ("logprobs", "advantages")
    return Success(Loss(inputs, _FORMULAS[loss_fn]({**defaults, **(config or {})})))


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Say which of the known names may be meant.

    >>> nearest("bta", {"beta": 0.05})
    "did you mean 'beta'? known: beta"
    """
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"known: {', '.join(known) or 'none'}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def _cross_entropy(config: Mapping[str, float]) -> Formula:
    return lambda logprob, old, advantage: TokenLoss(-logprob, -1.0)


def _importance_sampling(config: Mapping[str, float]) -> Formula:
    def formula(logprob: float, old: float, advantage: float) -> TokenLoss:
        ratio = policy_ratio(logprob - old)
        return TokenLoss(-ratio.value * advantage, -ratio.slope * advantage)

    return formula


def _ppo(config: Mapping[str, float]) -> Formula:
    def formula(logprob: float, old: float, advantage: float) -> TokenLoss:
        ratio = policy_ratio(logprob - old)
        free, held = ratio.value * advantage, _clip(ratio.value, config) * advantage
        return TokenLoss(-held, 0.0) if held < free else TokenLoss(-free, -ratio.slope * advantage)

    return formula


def _cispo(config: Mapping[str, float]) -> Formula:
    def formula(logprob: float, old: float, advantage: float) -> TokenLoss:
        slope = -_clip(policy_ratio(logprob - old).value, config) * advantage
        return TokenLoss(slope * logprob, slope)

    return formula


def _dro(config: Mapping[str, float]) -> Formula:
    def formula(logprob: float, old: float, advantage: float) -> TokenLoss:
        gap = logprob - old
        return TokenLoss(config["beta"] / 2 * gap * gap - logprob * advantage, config["beta"] * gap - advantage)

    return formula


def _clip(ratio: float, config: Mapping[str, float]) -> float:
    return min(max(ratio, config["clip_low_threshold"]), config["clip_high_threshold"])


_DEFAULTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "cross_entropy": {},
        "importance_sampling": {},
        "ppo": {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2},
        "cispo": {"clip_low_threshold": 0.0, "clip_high_threshold": 4.0},
        "dro": {"beta": 0.05},
    }
)

_FORMULAS: Mapping[str, Callable[[Mapping[str, float]], Formula]] = MappingProxyType(
    {
        "cross_entropy": _cross_entropy,
        "importance_sampling": _importance_sampling,
        "ppo": _ppo,
        "cispo": _cispo,
        "dro": _dro,
    }
)
