"""The losses of the Tinker API: their settings, what they read, and their value at given log-probabilities.

Letters: N positions of a datum. r = exp(min(logprob - old logprob, 20)), A the advantage; all are sums over tokens.

- cross_entropy: -weight * logprob
- importance_sampling: -r A
- ppo: -min(r A, clip(r) A)
- cispo: -stopgrad(clip(r)) logprob A
- dro: -(logprob A - beta / 2 (logprob - old logprob)^2)
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.algorithms.stable import MAX_LOG_RATIO
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import LossFn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]
    Formula: TypeAlias = Callable[["Loss", Array, Mapping[str, Array]], Array]


@attrs.frozen(kw_only=True)
class Loss:
    """A loss with its settings; every one is sent, so that no server has a default of its own."""

    name: LossFn
    config: Mapping[str, float]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it reads of a datum besides `target_tokens`."""
        return ("weights",) if self.name == "cross_entropy" else ("logprobs", "advantages")

    def of_tokens(self, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
        """Give the loss of each token."""
        return _FORMULAS[self.name](self, logprobs_N, inputs)


def configured(name: LossFn, config: Mapping[str, float] | None) -> Result[Loss, TrainError]:
    """Give a loss with `config` over its defaults; a name or a setting that it does not know is an error.

    >>> configured("ppo", {"clip_high_threshold": 1.3}).unwrap().config
    {'clip_low_threshold': 0.8, 'clip_high_threshold': 1.3}
    >>> str(configured("dro", {"bta": 1.0}).failure())
    "dro has no setting 'bta' in loss_fn_config: did you mean 'beta'? known: beta"
    """
    if name not in _DEFAULTS:
        return Failure(InvalidRequest(message=f"unknown loss_fn {name!r}", fix=nearest(name, tuple(_DEFAULTS))))
    defaults, given = _DEFAULTS[name], dict(config or {})
    unknown = next((key for key in given if key not in defaults), None)
    if unknown is not None:
        message = f"{name} has no setting {unknown!r} in loss_fn_config"
        return Failure(InvalidRequest(message=message, fix=nearest(unknown, tuple(defaults))))
    return Success(Loss(name=name, config={**defaults, **given}))


def nearest(name: str, known: tuple[str, ...]) -> str:
    """Say which of the known names may be meant.

    >>> nearest("bta", ("beta",))
    "did you mean 'beta'? known: beta"
    """
    close = difflib.get_close_matches(name, known, n=1)
    listed = f"known: {', '.join(known) or 'none'}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def _cross_entropy(loss: Loss, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    return -inputs["weights"] * logprobs_N


def _importance_sampling(loss: Loss, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    return -_ratio(logprobs_N, inputs) * inputs["advantages"]


def _ppo(loss: Loss, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    ratio, advantages = _ratio(logprobs_N, inputs), inputs["advantages"]
    free, held = ratio * advantages, _clip(loss, ratio) * advantages
    return -free.clip(max=held)


def _cispo(loss: Loss, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    return -_clip(loss, _ratio(logprobs_N, inputs)) * logprobs_N * inputs["advantages"]


def _dro(loss: Loss, logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    distance = (logprobs_N - inputs["logprobs"]) ** 2
    return -(logprobs_N * inputs["advantages"] - loss.config["beta"] / 2 * distance)


def _ratio(logprobs_N: "Array", inputs: "Mapping[str, Array]") -> "Array":
    import numpy as np

    return np.exp(np.minimum(logprobs_N - inputs["logprobs"], MAX_LOG_RATIO))


def _clip(loss: Loss, ratio: "Array") -> "Array":
    return ratio.clip(loss.config["clip_low_threshold"], loss.config["clip_high_threshold"])


_DEFAULTS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "cross_entropy": {},
        "importance_sampling": {},
        "ppo": {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2},
        "cispo": {"clip_low_threshold": 0.0, "clip_high_threshold": 4.0},
        "dro": {"beta": 0.05},
    }
)

_FORMULAS: "Mapping[str, Formula]" = MappingProxyType(
    {
        "cross_entropy": _cross_entropy,
        "importance_sampling": _importance_sampling,
        "ppo": _ppo,
        "cispo": _cispo,
        "dro": _dro,
    }
)
