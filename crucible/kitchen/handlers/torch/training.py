"""`TrainingClient` and `CustomLossClient` on the local engine."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future as ThreadFuture
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.torch.backend import (
    TorchBackend,
    checked_arguments,
    checked_name,
    examples_of,
    tokenizer_of,
    unused,
    within,
)
from crucible.kitchen.handlers.torch.custom_loss import train_on_custom_loss
from crucible.train.custom_loss import CustomLoss, selected
from crucible.train.errors import InvalidRequest, SessionClosed, TrainError
from crucible.train.ports import CustomLossClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Checkpoint,
    Datum,
    ForwardBackwardOutput,
    Future,
    LoraConfig,
    LossFn,
    OptimStepOutput,
    SamplerWeights,
    SessionConfig,
    Tokenizer,
    TrainingSession,
)

if TYPE_CHECKING:
    from crucible.engine import Adam, Example, LoadedModel, LoraSpec, LossOutput, Trainer

T = TypeVar("T")

KEPT_RESULTS = 256
"""How many awaited results can be awaited once more."""


@attrs.frozen(kw_only=True)
class _Open:
    """A session's trainer and what it trains on."""

    trainer: "Trainer"
    loaded: "LoadedModel"
    model: str
    metadata: Mapping[str, str]


class TorchTraining(TrainingClient, CustomLossClient):
    """Trains LoRA adapters with torch on this machine. Sessions on one model share its frozen weights."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        self._sessions: dict[str, _Open] = {}
        self._prefix = f"torch-{secrets.token_hex(4)}"  # so that nothing of another handler, or run, is taken for ours
        self._count = 0
        self._pending: dict[str, ThreadFuture[Result[object, TrainError]]] = {}
        self._awaited: list[str] = []

    async def start_session(self, config: SessionConfig) -> Result[TrainingSession, TrainError]:
        """Load the model and attach fresh adapters."""
        loaded = await self._backend.load(config.model)
        if isinstance(loaded, Failure):
            return loaded
        return await self._open(config, loaded.unwrap(), lambda trainer: {}, about=config.model)

    async def restore_session(
        self, config: SessionConfig, path: str, *, with_optimizer: bool = True
    ) -> Result[TrainingSession, TrainError]:
        """Load the model and a checkpoint's adapters, with its optimizer and random state where asked."""
        loaded = await self._backend.load(config.model)
        if isinstance(loaded, Failure):
            return loaded

        def prepare(trainer: "Trainer") -> Mapping[str, str]:
            metadata = trainer.load(Path(path), with_optimizer=with_optimizer)
            trainer.step = trainer.step if with_optimizer else 0
            return metadata if with_optimizer else {}

        return await self._open(config, loaded.unwrap(), prepare, about=path)

    async def _open(
        self,
        config: SessionConfig,
        loaded: "LoadedModel",
        prepare: "Callable[[Trainer], Mapping[str, str]]",
        *,
        about: str,
    ) -> Result[TrainingSession, TrainError]:
        def make() -> _Open:
            from crucible.engine import Trainer

            trainer = Trainer(loaded, _lora_spec(config.lora))
            return _Open(trainer=trainer, loaded=loaded, model=config.model, metadata=prepare(trainer))

        return (await self._backend.do(make, about=about)).map(self._register)

    def _register(self, opened: _Open) -> TrainingSession:
        self._count += 1
        session_id = f"{self._prefix}-{self._count}"
        self._sessions[session_id] = opened
        return TrainingSession(
            id=session_id,
            model=opened.model,
            max_length=opened.loaded.max_length,
            step=opened.trainer.step,
            metadata=opened.metadata,
        )

    async def get_tokenizer(self, session: TrainingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer."""
        return self._find(session).bind(lambda opened: tokenizer_of(opened.loaded))

    async def forward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Queue a pass without gradients."""

        def work(trainer: "Trainer", examples: "list[Example]") -> ForwardBackwardOutput:
            return _output_of(trainer.forward(examples, loss_fn, loss_fn_config or {}))

        return self._submit_batch(session, data, "forward", work)

    async def forward_backward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Queue a pass with gradients."""

        def work(trainer: "Trainer", examples: "list[Example]") -> ForwardBackwardOutput:
            return _output_of(trainer.forward_backward(examples, loss_fn, loss_fn_config or {}))

        return self._submit_batch(session, data, "forward_backward", work)

    async def forward_backward_custom(
        self, session: TrainingSession, data: Sequence[Datum], loss: CustomLoss
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Queue a pass with the gradients of a loss that is evaluated in between."""

        def submitted(chosen: Sequence[Datum]) -> Result[Future[ForwardBackwardOutput], TrainError]:
            def work(trainer: "Trainer", examples: "list[Example]") -> ForwardBackwardOutput:
                return train_on_custom_loss(trainer, examples, chosen, loss)

            return self._submit_batch(session, chosen, "forward_backward_custom", work)

        return selected(data).bind(submitted)

    async def optim_step(
        self, session: TrainingSession, adam: AdamParams
    ) -> Result[Future[OptimStepOutput], TrainError]:
        """Queue an optimizer step."""

        def work(trainer: "Trainer", checked: "Adam") -> OptimStepOutput:
            done = trainer.optim_step(checked)
            return OptimStepOutput(step=done.step, learning_rate=done.learning_rate, grad_norm=done.grad_norm)

        return self._find(session).bind(
            lambda opened: _adam(adam).map(
                lambda checked: self._submit(session, "optim_step", lambda: work(opened.trainer, checked))
            )
        )

    async def await_(self, future: Future[T]) -> Result[T, TrainError]:
        """Wait for what was queued."""
        pending = self._pending.get(future.id)
        if pending is None:
            message = f"future {future.id} is not known here"
            fix = "await a future on the handler that gave it, before its session is closed"
            return Failure(InvalidRequest(message=message, fix=fix))
        result = await self._backend.wait(pending, session_id=future.session_id)
        self._forget_old(future.id)
        return cast("Result[T, TrainError]", result)

    async def save_checkpoint(
        self, session: TrainingSession, name: str, *, metadata: Mapping[str, str] | None = None
    ) -> Result[Checkpoint, TrainError]:
        """Write adapter, optimizer, random state, step and metadata to `root/checkpoints/name`: whole or not at all."""
        opened = checked_name(name).bind(lambda _: self._find(session))
        if isinstance(opened, Failure):
            return opened
        trainer, wanted = opened.unwrap().trainer, self._backend.root / "checkpoints" / name

        def work() -> Checkpoint:
            directory = unused(wanted)
            trainer.save(directory, metadata or {})
            return Checkpoint(path=str(directory), name=name, step=trainer.step)

        return await self._backend.do(work, about=str(wanted))

    async def save_sampler_weights(self, session: TrainingSession, name: str) -> Result[SamplerWeights, TrainError]:
        """Write the adapter to `root/weights/name` in the peft format, which `peft` and others read too."""
        found = checked_name(name).bind(lambda _: self._find(session))
        if isinstance(found, Failure):
            return found
        opened, wanted = found.unwrap(), self._backend.root / "weights" / name

        def work() -> SamplerWeights:
            directory = unused(wanted)
            opened.trainer.export_adapter(directory)
            return SamplerWeights(path=str(directory), model=opened.model, step=opened.trainer.step)

        return await self._backend.do(work, about=str(wanted))

    async def delete_sampler_weights(self, weights: SamplerWeights) -> Result[None, TrainError]:
        """Remove the adapter's folder from `root/weights`; what lies elsewhere is not touched."""
        folder = within(Path(weights.path), self._backend.root / "weights")
        if isinstance(folder, Failure):
            return folder

        def work() -> None:
            from crucible.engine import remove_directory

            remove_directory(folder.unwrap())

        return await self._backend.do(work, about=weights.path)

    async def close_session(self, session: TrainingSession) -> Result[None, TrainError]:
        """Let go of the adapters; the model stays loaded. What was submitted and has not begun is dropped."""
        self._sessions.pop(session.id, None)
        for key in [key for key in self._pending if key.startswith(f"{session.id}/")]:
            if not self._pending[key].cancel() and self._pending[key].done():
                del self._pending[key]
        self._awaited = [key for key in self._awaited if key in self._pending]
        return Success(None)

    def _forget_old(self, awaited: str) -> None:
        """Keep the newest results alone: they hold a number for each token, and a run has many steps."""
        if awaited not in self._awaited:
            self._awaited.append(awaited)
        while len(self._awaited) > KEPT_RESULTS:
            self._pending.pop(self._awaited.pop(0), None)

    def _find(self, session: TrainingSession) -> Result[_Open, TrainError]:
        opened = self._sessions.get(session.id)
        return Success(opened) if opened is not None else Failure(SessionClosed(session_id=session.id))

    def _submit_batch(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        operation: str,
        work: "Callable[[Trainer, list[Example]], T]",
    ) -> Result[Future[T], TrainError]:
        return self._find(session).bind(
            lambda opened: examples_of(data).map(
                lambda examples: self._submit(session, operation, lambda: work(opened.trainer, examples))
            )
        )

    def _submit(self, session: TrainingSession, operation: str, work: Callable[[], T]) -> Future[T]:
        self._count += 1
        future = Future[T](id=f"{session.id}/{operation}-{self._count}", session_id=session.id, operation=operation)
        self._pending[future.id] = self._backend.submit(work)
        return future


def _adam(adam: AdamParams) -> "Result[Adam, TrainError]":
    from crucible.engine import Adam

    return checked_arguments(lambda: Adam(**attrs.asdict(adam)))


def _output_of(output: "LossOutput") -> ForwardBackwardOutput:
    return ForwardBackwardOutput(loss=output.loss, logprobs=output.logprobs, metrics=dict(output.metrics))


def _lora_spec(lora: LoraConfig) -> "LoraSpec":
    from crucible.engine import ALL_ATTENTION, ALL_MLP, OUTPUT_HEAD, LoraSpec

    target = (
        (ALL_ATTENTION if lora.train_attn else ())
        + (ALL_MLP if lora.train_mlp else ())
        + (OUTPUT_HEAD if lora.train_unembed else ())
    )
    return LoraSpec(rank=lora.rank, alpha=lora.alpha, seed=lora.seed, target=target)
