"""What a run knows at each point: the classes that contexts carry.

Every workflow's state begins with `TrainingState`; the batch-level stages work on any subclass of it. Within one
optimizer step the state is wrapped: `Batched` (there is a batch), `Submitted` (its gradients are on the way), `Stepping`
(the optimizer step too), `Stepped` (both have been awaited).
"""

from typing import Generic, TypeVar

import attrs

from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.kept import KEPT
from crucible.train.algorithms.schedules import Schedule
from crucible.train.types import (
    AdamParams,
    Checkpoint,
    Datum,
    ForwardBackwardOutput,
    Future,
    LossFn,
    OptimStepOutput,
    Row,
    SamplerWeights,
    Tokenizer,
    TrainingSession,
)

S_co = TypeVar("S_co", bound="TrainingState[TrainingConfig]", covariant=True)
C_co = TypeVar("C_co", bound=TrainingConfig, covariant=True)


@attrs.frozen(kw_only=True)
class Optimization:
    """How a workflow steps: the schedule gives each step's learning rate, `adam` everything else."""

    schedule: Schedule
    adam: AdamParams = AdamParams()
    loss_fn: LossFn = "cross_entropy"
    loss_fn_config: dict[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Loaded(Generic[C_co]):
    """The rows are read."""

    config: C_co
    rows: tuple[Row, ...]


@attrs.frozen(kw_only=True)
class Opened(Generic[C_co]):
    """A training session is open."""

    config: C_co
    rows: tuple[Row, ...]
    session: TrainingSession


@attrs.frozen(kw_only=True)
class Tokenized(Generic[C_co]):
    """The model's tokenizer is known."""

    config: C_co
    rows: tuple[Row, ...]
    session: TrainingSession
    tokenizer: Tokenizer


@attrs.frozen(kw_only=True)
class TrainingState(Generic[C_co]):
    """A run that is ready to train.

    `step` counts finished optimizer steps, `step_before` what it was before the last update (which may take several), and
    `batches_done` the batches that were drawn and used: where a resumed run goes on. `data_digest` tells the rows from others.
    `had_gradient` tells whether any step had one; `why_no_step` says of the last batch that taught nothing why it did not. `metrics` are of the weights at `measured_step`, None
    before the first measurement. `started_from` is the checkpoint whose weights training began with, None for fresh adapters;
    `reference_path` are the sampler weights that it is held against in their place, `reference` is a copy of them while it is.

    What is marked `KEPT` is in every checkpoint, and comes back when a run is resumed. Each workflow adds what it draws batches
    from. `batches` are those left of this epoch, by the indices of their examples.
    """

    config: C_co
    session: TrainingSession
    tokenizer: Tokenizer
    optimization: Optimization
    step: int = attrs.field(default=0, metadata=KEPT)
    step_before: int = attrs.field(default=0, metadata=KEPT)
    batches_done: int = attrs.field(default=0, metadata=KEPT)
    epoch: int = attrs.field(default=0, metadata=KEPT)
    num_examples: int
    data_digest: str = ""
    batches: tuple[tuple[int, ...], ...] = ()
    had_gradient: bool = attrs.field(default=False, metadata=KEPT)
    why_no_step: str = attrs.field(default="", metadata=KEPT)
    epoch_loss: float = attrs.field(default=0.0, metadata=KEPT)
    epoch_steps: int = attrs.field(default=0, metadata=KEPT)
    started_from: str | None = attrs.field(default=None, metadata=KEPT)
    reference_path: str | None = attrs.field(default=None, metadata=KEPT)
    reference: SamplerWeights | None = None
    checkpoint: Checkpoint | None = None
    final_weights: SamplerWeights | None = None
    metrics: dict[str, float] = attrs.field(factory=dict, metadata=KEPT)
    measured_step: int | None = attrs.field(default=None, metadata=KEPT)


@attrs.frozen(kw_only=True)
class Batched(Generic[S_co]):
    """A batch is chosen."""

    base: S_co
    batch: tuple[Datum, ...]


@attrs.frozen(kw_only=True)
class Submitted(Generic[S_co]):
    """The batch's forward and backward pass is submitted."""

    base: S_co
    num_tokens: int
    gradients: Future[ForwardBackwardOutput]


@attrs.frozen(kw_only=True)
class Stepping(Generic[S_co]):
    """The optimizer step is submitted as well."""

    base: S_co
    num_tokens: int
    gradients: Future[ForwardBackwardOutput]
    update: Future[OptimStepOutput]


@attrs.frozen(kw_only=True)
class Stepped(Generic[S_co]):
    """The step is done; `base.step` counts it."""

    base: S_co
    num_tokens: int
    gradients: ForwardBackwardOutput
    update: OptimStepOutput
