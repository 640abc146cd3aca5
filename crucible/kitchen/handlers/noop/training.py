"""`TrainingClient` on nothing: a real bigram model, trained in this process."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.noop._bigram import TOKENIZER, Policy
from crucible.kitchen.handlers.noop._losses import configured
from crucible.kitchen.handlers.noop._scoring import Gradient, Scored, checked, score
from crucible.kitchen.handlers.noop._shelf import Saved, Shelf
from crucible.train.custom_loss import CustomLoss, CustomLossOutput, evaluated, linearised, selected
from crucible.train.errors import InvalidRequest, NonFiniteLoss, NotFound, SessionClosed, TrainError
from crucible.train.ports import CustomLossClient, TrainingClient
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


def training(
    *, seed: int = 0, max_length: int = 32_768, shelf: Shelf | None = None
) -> Handlers[TrainingClient | CustomLossClient]:
    """Handle training, on custom losses too, with a model of some 66,000 numbers: deterministic, and it learns.

    Args:
        seed: of the untrained model; sampling with the same seed reads the same one.
        max_length: the model's limit in tokens.
        shelf: where models are saved; a fresh one when None.
    """
    both = _Training(seed=seed, max_length=max_length, shelf=shelf or Shelf())
    return TrainingClient.handled_by(both) | CustomLossClient.handled_by(both)


class _Open:
    """The state of an open session."""

    def __init__(self, policy: Policy, step: int) -> None:
        self.policy = policy
        self.step = step
        self.gradient = Gradient()
        self.promised: list[Result[object, TrainError]] = []


class _Training(TrainingClient, CustomLossClient):
    """A `TrainingClient` and `CustomLossClient` that keeps its sessions in this object."""

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
        def opened(saved: Saved) -> Result[TrainingSession, TrainError]:
            if saved.policy.model != config.model:
                message = f"checkpoint {path} is of model {saved.policy.model!r}, not of {config.model!r}"
                return Failure(InvalidRequest(message=message, fix="restore it with the model it was trained from"))
            if not with_optimizer:
                return Success(self._open(saved.policy, 0))
            return Success(self._open(saved.policy, saved.step, saved.metadata))

        return self._shelf.get(path, kind="checkpoint").bind(opened)

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
        return self._scored(session, data, loss_fn, loss_fn_config).map(
            lambda scored: self._promise(session, "forward", _output(scored))
        )

    async def forward_backward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        def kept(scored: Sequence[Scored]) -> Result[Future[ForwardBackwardOutput], TrainError]:
            if not any(datum.slopes for datum in scored):
                fix = "look at the weights: at least one position must have a weight other than 0"
                return Failure(InvalidRequest(message="no token of this batch is trained on", fix=fix))
            output = _output(scored)
            if isinstance(output, Success):
                for datum in scored:
                    self._sessions[session.id].gradient.add(datum.slopes)
            return Success(self._promise(session, "forward_backward", output))

        return self._scored(session, data, loss_fn, loss_fn_config).bind(kept)

    async def forward_backward_custom(
        self, session: TrainingSession, data: Sequence[Datum], loss: CustomLoss
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        def kept(scored: Sequence[Scored]) -> Result[Future[ForwardBackwardOutput], TrainError]:
            if not any(datum.slopes for datum in scored):
                fix = "look at the weights: at least one position must have a weight other than 0"
                return Failure(InvalidRequest(message="no position of this batch is scored", fix=fix))
            logprobs = tuple(datum.logprobs for datum in scored)
            output = evaluated(loss, data, logprobs)
            return output.bind(lambda checked: self._learned(session, data, checked)).map(
                lambda checked: self._promise(session, "forward_backward_custom", Success(_custom(checked, logprobs)))
            )

        chosen = selected(data)
        return chosen.bind(lambda data: self._scored(session, data, "cross_entropy", None)).bind(kept)

    async def optim_step(
        self, session: TrainingSession, adam: AdamParams
    ) -> Result[Future[OptimStepOutput], TrainError]:
        def stepped(state: _Open) -> Future[OptimStepOutput]:
            state.policy, norm = state.gradient.step(state.policy, adam)
            state.gradient = Gradient()
            state.step += 1
            output = OptimStepOutput(step=state.step, learning_rate=adam.learning_rate, grad_norm=norm)
            return self._promise(session, "optim_step", Success(output))

        return self._find(session.id).map(stepped)

    async def await_(self, future: Future[T]) -> Result[T, TrainError]:
        def kept(state: _Open) -> Result[T, TrainError]:
            index = future.id.rpartition("#")[2]
            if future.id != f"{future.session_id}#{index}" or not index.isdecimal():
                return Failure(NotFound(kind="future", name=future.id))
            if int(index) >= len(state.promised):
                return Failure(NotFound(kind="future", name=future.id, fix="await what this session gave"))
            return cast("Result[T, TrainError]", state.promised[int(index)])

        return self._find(future.session_id).bind(kept)

    async def save_checkpoint(
        self, session: TrainingSession, name: str, *, metadata: Mapping[str, str] | None = None
    ) -> Result[Checkpoint, TrainError]:
        def saved(state: _Open) -> Checkpoint:
            kept = Saved(policy=state.policy, step=state.step, metadata=dict(metadata or {}))
            path = self._shelf.put(f"{session.id}/checkpoint", name, kept)
            return Checkpoint(path=path, name=name, step=state.step)

        return self._named(session, name).map(saved)

    async def save_sampler_weights(self, session: TrainingSession, name: str) -> Result[SamplerWeights, TrainError]:
        def saved(state: _Open) -> SamplerWeights:
            path = self._shelf.put(f"{session.id}/weights", name, Saved(policy=state.policy, step=state.step))
            return SamplerWeights(path=path, model=state.policy.model, step=state.step)

        return self._named(session, name).map(saved)

    async def delete_sampler_weights(self, weights: SamplerWeights) -> Result[None, TrainError]:
        if not weights.path.startswith("noop://") or "/weights/" not in weights.path:
            fix = "give what save_sampler_weights gave"
            return Failure(InvalidRequest(message=f"{weights.path} holds no weights for sampling", fix=fix))
        self._shelf.drop(weights.path)
        return Success(None)

    async def close_session(self, session: TrainingSession) -> Result[None, TrainError]:
        self._sessions.pop(session.id, None)
        return Success(None)

    def _learned(
        self, session: TrainingSession, data: Sequence[Datum], output: CustomLossOutput
    ) -> Result[CustomLossOutput, TrainError]:
        """Add the derivatives of a custom loss to the gradients."""
        scored = self._scored(session, linearised(data, output), "cross_entropy", None)
        for datum in scored.value_or(()):
            self._sessions[session.id].gradient.add(datum.slopes)
        return scored.map(lambda _: output)

    def _open(self, policy: Policy, step: int, metadata: Mapping[str, str] | None = None) -> TrainingSession:
        self._num_started += 1
        session_id = f"training-{self._num_started}"
        self._sessions[session_id] = _Open(policy, step)
        return TrainingSession(
            id=session_id,
            model=policy.model,
            max_length=self._max_length,
            step=step,
            metadata=dict(metadata or {}),
        )

    def _find(self, session_id: str) -> Result[_Open, TrainError]:
        state = self._sessions.get(session_id)
        return Failure(SessionClosed(session_id=session_id)) if state is None else Success(state)

    def _named(self, session: TrainingSession, name: str) -> Result[_Open, TrainError]:
        if not name:
            return Failure(InvalidRequest(message="a saved model needs a name", fix="give one, such as 'step_000100'"))
        return self._find(session.id)

    def _promise(self, session: TrainingSession, operation: str, result: Result[T, TrainError]) -> Future[T]:
        promised = self._sessions[session.id].promised
        promised.append(result)
        return Future(id=f"{session.id}#{len(promised) - 1}", session_id=session.id, operation=operation)

    def _scored(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        loss_fn: LossFn,
        loss_fn_config: Mapping[str, float] | None,
    ) -> Result[tuple[Scored, ...], TrainError]:
        state, loss = self._find(session.id), configured(loss_fn, loss_fn_config)
        if isinstance(state, Failure):
            return Failure(state.failure())
        if isinstance(loss, Failure):
            return Failure(loss.failure())
        open_, formula = state.unwrap(), loss.unwrap()
        problem = checked(data, formula, max_length=self._max_length)
        return problem.map(lambda _: tuple(score(open_.policy, datum, formula) for datum in data))


def _custom(output: CustomLossOutput, logprobs: tuple[tuple[float, ...], ...]) -> ForwardBackwardOutput:
    return ForwardBackwardOutput(loss=output.loss, logprobs=logprobs, metrics=dict(output.metrics))


def _output(scored: Sequence[Scored]) -> Result[ForwardBackwardOutput, TrainError]:
    loss = math.fsum(datum.loss for datum in scored) if all(math.isfinite(datum.loss) for datum in scored) else math.nan
    if not math.isfinite(loss):
        indices = tuple(i for i, datum in enumerate(scored) if not math.isfinite(datum.loss))
        return Failure(NonFiniteLoss(loss=sum(datum.loss for datum in scored), indices=indices))
    metrics = {"loss:sum": loss, "num_loss_tokens:sum": float(sum(len(datum.slopes) for datum in scored))}
    return Success(ForwardBackwardOutput(loss=loss, logprobs=tuple(d.logprobs for d in scored), metrics=metrics))
