"""What a training needs of its backend, compared with what the backend can do."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from crucible.train.errors import Unsupported
from crucible.train.types import Capabilities, Feature

_SAID: Mapping[Feature, str] = MappingProxyType(
    {
        "cross_entropy": "training: a batch gave no gradient",
        "policy_losses": "training on policy losses: a batch gave no gradient",
        "custom_losses": "custom losses, which need the sum over tokens and weights of either sign",
        "prompt_logprobs": "log-probabilities of the tokens of a text",
        "top_logprobs": "the likeliest tokens in the place of each token of a text",
    }
)

_FIXES: Mapping[Feature, str] = MappingProxyType(
    {
        "cross_entropy": "take another server or model",
        "policy_losses": "take another server or model",
        "custom_losses": "take another backend (torch trains on any loss), or train supervised on the preferred answers",
        "prompt_logprobs": "take another backend, or a training without a reference or teacher (kl_coef 0)",
        "top_logprobs": "take another backend, or `distillation`, which needs the log-probabilities of samples alone",
    }
)

_UNKNOWN_FIX = "if you know that it sums losses and means weights below 0, say so: TinkerConfig(probe='never'), or backend.options.probe: never in a spec; or take another backend"


def unmet(needs: Iterable[Feature], capabilities: Capabilities) -> Unsupported | None:
    """Give the error for the first need that a backend does not meet; None where it meets all.

    A wrong gradient is told by nothing, so custom losses must be known to be right. A feature that is asked for and not there
    is an error of its own when it is not known before.

    >>> unmet(["custom_losses"], Capabilities()) is None
    True
    >>> averaging = Capabilities(backend="averager", loss_reduction="mean", divided_by=None)
    >>> print(unmet(["custom_losses"], averaging))  # doctest: +ELLIPSIS
    averager does not support custom losses, which need the sum over tokens and weights of either sign: take another ...
    """
    for need in needs:
        found = capabilities.has(need)
        if found is None and need == "custom_losses":
            feature = f"{_SAID[need]}, as far as is known"
            return Unsupported(feature=feature, backend=capabilities.backend, fix=_UNKNOWN_FIX)
        if found is False:
            return Unsupported(feature=_SAID[need], backend=capabilities.backend, fix=_FIXES[need])
    return None
