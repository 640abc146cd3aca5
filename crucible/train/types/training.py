"""What goes to a training backend and what comes back."""

from collections.abc import Mapping
from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, NOT_EMPTY, Limits, checked, within
from crucible.train.types.capabilities import Capabilities, Feature

T = TypeVar("T")
_DECAY = within(Limits(at_least=0, below=1))

LossFn: TypeAlias = Literal["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"]
"""Names of the losses that a backend computes itself, as in the Tinker API. All are sums over tokens."""


@attrs.frozen(kw_only=True, field_transformer=checked)
class LoraConfig:
    """Low-rank adapters: which layers get one, and of what rank (Hu et al. 2021, arXiv 2106.09685).

    `train_mlp` means feed-forward blocks with their experts, `train_attn` all other layers that a token passes (attention,
    linear attention, state spaces, convolutions), and `train_unembed` the output head.
    """

    rank: int = attrs.field(default=16, metadata=AT_LEAST_1)
    alpha: float = attrs.field(default=32.0, metadata=ABOVE_0)
    seed: int = 0
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = False


@attrs.frozen(kw_only=True, field_transformer=checked)
class SessionConfig:
    """What a training session starts from.

    `model` is a hub id, a local directory or a `.gguf` file; each handler says which it takes. `needs` is what the training
    relies on: a backend that does not know what it can do finds it out then, and tells it in the session. Workflows add theirs,
    and are refused where a need is not met.
    """

    model: str = attrs.field(metadata=NOT_EMPTY)
    lora: LoraConfig = LoraConfig()
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    needs: tuple[Feature, ...] = ()


@attrs.frozen(kw_only=True)
class TrainingSession:
    """An open session: a name for it, never the thing itself. `max_length` is the model's limit in tokens.

    `metadata` is what was saved with the checkpoint that it goes on from; that of a new training is empty. It is no part of the name.
    `capabilities` is what is known of the backend, no part of the name either: what the ports promise, where a training did not say
    what it needs.
    """

    id: str
    model: str
    max_length: int
    step: int = 0
    metadata: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    capabilities: Capabilities = attrs.field(default=Capabilities(), eq=False)


@attrs.frozen(kw_only=True, field_transformer=checked)
class AdamParams:
    """One AdamW step (Loshchilov & Hutter 2019). `grad_clip_norm` 0 means no clipping. Defaults as in the Tinker API."""

    learning_rate: float = attrs.field(default=1e-4, metadata=AT_LEAST_0)
    beta1: float = attrs.field(default=0.9, metadata=_DECAY)
    beta2: float = attrs.field(default=0.95, metadata=_DECAY)
    eps: float = attrs.field(default=1e-12, metadata=ABOVE_0)
    weight_decay: float = attrs.field(default=0.0, metadata=AT_LEAST_0)
    grad_clip_norm: float = attrs.field(default=0.0, metadata=AT_LEAST_0)


@attrs.frozen(kw_only=True)
class Future(Generic[T]):
    """A request that was accepted; `TrainingClient.await_` gives its `T`."""

    id: str
    session_id: str
    operation: str


@attrs.frozen(kw_only=True)
class ForwardBackwardOutput:
    """The loss (sum over tokens) and, for each datum, one log-probability for each position (0.0 where untrained)."""

    loss: float
    logprobs: tuple[tuple[float, ...], ...]
    metrics: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class OptimStepOutput:
    """What an optimizer step did: `step` counts the steps of the session, the first being 1.

    `grad_norm` is the norm of the gradient before it was clipped, None where the backend does not tell it.
    """

    step: int
    learning_rate: float
    grad_norm: float | None
    metrics: Mapping[str, float] = attrs.field(factory=dict)

    @property
    def had_gradient(self) -> bool:
        """Whether there was something to step down, or may have been: where all advantages are 0, there is nothing."""
        return self.grad_norm != 0

    @property
    def told(self) -> dict[str, float]:
        """What a run tells of a step as metrics: its learning rate, and the gradient's norm where it is known.

        >>> OptimStepOutput(step=1, learning_rate=0.1, grad_norm=None).told
        {'learning_rate': 0.1}
        """
        norm = {} if self.grad_norm is None else {"grad_norm": self.grad_norm}
        return {"learning_rate": self.learning_rate, **norm}


@attrs.frozen(kw_only=True)
class Checkpoint:
    """A saved training state (weights, optimizer, random state) that `restore_session` takes; it holds `step` steps."""

    path: str
    name: str
    step: int


@attrs.frozen(kw_only=True)
class SamplerWeights:
    """Saved weights that a sampling session takes: one immutable version of the policy."""

    path: str
    model: str
    step: int
