"""The engine's frozen argument and result values. Letters: N positions of an example."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

ALL_LINEAR = ("all-linear",)
"""The LoRA target that means every linear layer, and every expert, except the output head."""
ALL_ATTENTION = ("all-attention",)
"""Those of `ALL_LINEAR` that mix tokens: attention, linear attention, state spaces, convolutions."""
ALL_MLP = ("all-mlp",)
"""Those of `ALL_LINEAR` in feed-forward blocks, experts included."""
OUTPUT_HEAD = ("output-head",)
"""The layer that gives the logits."""


def _at_least(low: float) -> Any:  # Any: attrs validators are generic over the class they sit in
    def check(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
        if not (math.isfinite(value) and value >= low):
            raise ValueError(f"{attribute.name} must be finite and at least {low}, got {value}")

    return check


def _below_one(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{attribute.name} must be in [0, 1), got {value}")


@attrs.frozen(kw_only=True)
class LoraSpec:
    """Shape of a low-rank adapter: `W + (alpha / rank) * B @ A`.

    Args:
        rank: inner dimension, at least 1.
        alpha: scale numerator. Tinker has no such knob on its wire; 32 with rank 16 scales the adapter by 2.
        dropout: probability in [0, 1) of dropping an input of A in training.
        target: module names, matched on the last component or the whole dotted name; `ALL_LINEAR` for all
            linear layers but the head; or any of `ALL_ATTENTION`, `ALL_MLP` and `OUTPUT_HEAD`.
        seed: of the initial A (B starts at zero) and of the dropout stream.
    """

    rank: int = attrs.field(default=16, validator=_at_least(1))
    alpha: float = attrs.field(default=32.0, converter=float, validator=_at_least(0))
    dropout: float = attrs.field(default=0.0, converter=float, validator=_below_one)
    target: tuple[str, ...] = attrs.field(default=ALL_LINEAR, converter=tuple[str, ...])
    seed: int = 0

    @property
    def scale(self) -> float:
        """`alpha / rank`, the factor on `B @ A`."""
        return self.alpha / self.rank


@attrs.frozen(kw_only=True)
class Adam:
    """Parameters of one AdamW step; the defaults are Tinker's.

    Args:
        learning_rate: step size.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay, multiplied by the learning rate.
        grad_clip_norm: largest global gradient norm; 0 turns clipping off.
    """

    learning_rate: float = attrs.field(default=1e-4, validator=_at_least(0))
    beta1: float = attrs.field(default=0.9, validator=_below_one)
    beta2: float = attrs.field(default=0.95, validator=_below_one)
    eps: float = attrs.field(default=1e-12, validator=_at_least(0))
    weight_decay: float = attrs.field(default=0.0, validator=_at_least(0))
    grad_clip_norm: float = attrs.field(default=0.0, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Example:
    """One training sequence; `tokens[i]` predicts `loss_inputs["target_tokens"][i]`.

    Args:
        tokens: input ids, length N.
        loss_inputs: arrays of length N; which ones depends on the loss (see `losses`).
    """

    tokens: tuple[int, ...] = attrs.field(converter=tuple[int, ...])
    loss_inputs: Mapping[str, Sequence[float] | Sequence[int]]


@attrs.frozen(kw_only=True)
class LossOutput:
    """What a forward pass gives.

    Args:
        loss: sum over tokens (never a mean) of the loss.
        logprobs: one tuple of length N for each example, in batch order; 0.0 at positions that were not scored.
        metrics: keys carry their reduction, as in `loss:sum`.
    """

    loss: float
    logprobs: tuple[tuple[float, ...], ...]
    metrics: Mapping[str, float]


@attrs.frozen(kw_only=True)
class StepOutput:
    """What an optimizer step did.

    Args:
        grad_norm: global L2 norm before clipping.
        learning_rate: the one applied.
        step: number of optimizer steps done so far, this one included.
    """

    grad_norm: float
    learning_rate: float
    step: int


@attrs.frozen(kw_only=True)
class Sampling:
    """How to sample.

    Args:
        max_tokens: most tokens to generate for each sample; generation also ends at the context limit.
        temperature: 0 is greedy.
        top_k: keep the k most likely tokens; -1 keeps all.
        top_p: keep the smallest set of tokens with at least this probability, in (0, 1].
        stop: token ids that end a sample (kept as its last token), besides the end-of-sequence ids.
        stop_strings: texts that end a sample; it keeps the token that completed the text.
        stop_on_eos: whether the model's end-of-sequence ids stop too.
        seed: samples are a function of (seed, prompt index, sample index), not of how rows are batched.
    """

    max_tokens: int = attrs.field(validator=_at_least(1))
    temperature: float = attrs.field(default=1.0, validator=_at_least(0))
    top_k: int = -1
    top_p: float = 1.0
    stop: tuple[int, ...] = attrs.field(default=(), converter=tuple[int, ...])
    stop_strings: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...])
    stop_on_eos: bool = True
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        if self.top_k != -1 and self.top_k < 1:
            raise ValueError(f"top_k must be -1 (all) or at least 1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if "" in self.stop_strings:
            raise ValueError("stop_strings must not hold the empty string")


@attrs.frozen(kw_only=True)
class Sampled:
    """One sample.

    Args:
        tokens: generated ids, the stop token included.
        logprobs: natural log-probability of each token under the model's own distribution (temperature 1, no
            top-k, no top-p), so that they can be compared with what `Trainer` returns.
        stop_reason: "stop" for a stop token or text, "length" for max_tokens or the context limit.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    stop_reason: Literal["stop", "length"]
