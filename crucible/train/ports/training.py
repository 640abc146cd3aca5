"""`TrainingClient`: the port of everything that changes weights."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from crucible.effects import Port, Result, not_repeatable
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import (
    AdamParams,
    Checkpoint,
    Datum,
    ForwardBackwardOutput,
    Future,
    LossFn,
    OptimStepOutput,
    SamplerWeights,
    SessionConfig,
    Tokenizer,
    TrainingSession,
)

T = TypeVar("T")


class TrainingClient(Port, unanswered=Unavailable.because):
    """Trains a model by batches.

    Submitting and awaiting are separate operations, so that `forward_backward` and `optim_step` can be in flight
    together. Requests of one session are carried out in the order they were submitted.
    """

    @abstractmethod
    async def start_session(self, config: SessionConfig) -> Result[TrainingSession, TrainError]:
        """Load a model with fresh adapters."""

    @abstractmethod
    async def restore_session(
        self, config: SessionConfig, path: str, *, with_optimizer: bool = True
    ) -> Result[TrainingSession, TrainError]:
        """Start a session from a checkpoint; with its optimizer and random state, training goes on as if never ended.

        Without them its weights begin a new training, at step 0.
        """

    @abstractmethod
    async def get_tokenizer(self, session: TrainingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer."""

    @abstractmethod
    async def forward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Compute loss and log-probabilities; gradients are never touched."""

    @abstractmethod
    @not_repeatable
    async def forward_backward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Compute loss and log-probabilities, and add to the gradients. A batch without a trained token is an error."""

    @abstractmethod
    @not_repeatable
    async def optim_step(
        self, session: TrainingSession, adam: AdamParams
    ) -> Result[Future[OptimStepOutput], TrainError]:
        """Apply the gradients to the weights and clear them."""

    @abstractmethod
    async def await_(self, future: Future[T]) -> Result[T, TrainError]:
        """Wait for what a future promises. Awaiting it again gives the same."""

    @abstractmethod
    async def save_checkpoint(
        self, session: TrainingSession, name: str, *, metadata: Mapping[str, str] | None = None
    ) -> Result[Checkpoint, TrainError]:
        """Save weights, optimizer and random state under `name`, `metadata` with them: all of it or nothing.

        `metadata` is the caller's: a session restored from the checkpoint with its optimizer has the same in its `metadata`.
        A backend that keeps none gives back an empty one.

        What was saved before is never replaced: a name used again gets a number behind it in the path (`name~2`).
        """

    @abstractmethod
    async def save_sampler_weights(self, session: TrainingSession, name: str) -> Result[SamplerWeights, TrainError]:
        """Save the present weights for sampling: an immutable version of the policy.

        What was saved before is never replaced: a name used again gets a number behind it in the path (`name~2`).
        """

    @abstractmethod
    async def delete_sampler_weights(self, weights: SamplerWeights) -> Result[None, TrainError]:
        """Let go of weights that nobody samples from any more. Deleting what is not there is no error.

        A sampling session that was opened on them goes on; none is opened on them again. Of anything else than weights that
        `save_sampler_weights` gave nothing is deleted: that is an InvalidRequest.
        """

    @abstractmethod
    async def close_session(self, session: TrainingSession) -> Result[None, TrainError]:
        """Let go of the session. Closing it again is no error."""
