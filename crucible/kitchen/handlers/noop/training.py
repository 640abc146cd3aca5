"""`TrainingClient` on nothing: a real bigram model, trained in this process."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.noop._bigram import TOKENIZER, Policy
from crucible.kitchen.handlers.noop._losses import Loss, configured
from crucible.kitchen.handlers.noop._scoring import Gradient, Scored, checked, score
from crucible.kitchen.handlers.noop._shelf import Saved, Shelf
from crucible.train.errors import InvalidRequest, NonFiniteLoss, NotFound, SessionClosed, TrainError
from crucible.train.ports import TrainingClient
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


def training(*, seed: int = 0, max_length: int = 32_768, shelf: Shelf | None = None) -> Handlers[TrainingClient]:
    """Handle training with a model of some 66,000 numbers: deterministic, and it learns.

    Args:
        seed: of the untrained model; sampling with the same seed reads the same one.
        max_length: the model's limit in tokens.
        shelf: where models are saved; a fresh one when None.
    """
    return TrainingClient.handled_by(NoopTraining(seed=seed, max_length=max_length, shelf=shelf or Shelf()))


class _Open:
    """The state of an open session."""

    def __init__(self, policy: Policy, step: int) -> None:
        self.policy = policy
        self.step = step
        self.gradient = Gradient()
        self.promised: dict[str, Result[object, TrainError]] = {}


class NoopTraining(TrainingClient):
    """A `TrainingClient` that keeps its sessions in this object."""

    def __init__(self, *, seed: int, max_length: int, shelf: Shelf) -> None:
        self._seed = seed
        self._max_length = max_length
        self._shelf = shelf
        self._sessions: dict[str, _Open] = {}
        self._num_started = 0

    async def start_session(self, config: SessionConfig) -> Result[TrainingSession, TrainError]:
        return Success(self._open(Policy(config.model, self._seed), 0))

    async def restore_session(
        self, config: SessionConfig, path: str, *, with_optimizer: bool = True
    ) -> Result[TrainingSession, TrainError]:
        return self._shelf.get(path, kind="checkpoint").bind(lambda saved: self._restored(config, saved, with_optimizer))

    async def get_tokenizer(self, session: TrainingSession) -> Result[Tokenizer, TrainError]:
        return self._find(session.id).map(lambda _: TOKENIZER)

    async def forward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        return self._scored(session, data, loss_fn, loss_fn_config, learn=False)

    async def forward_backward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        return self._scored(session, data, loss_fn, loss_fn_config, learn=True)
