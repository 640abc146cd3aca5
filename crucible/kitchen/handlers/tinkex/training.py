"""`TrainingClient` and `CustomLossClient` on a Tinker server."""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future as ThreadFuture
from typing import TYPE_CHECKING, TypeVar

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.batches import Batch, with_something_trained
from crucible.kitchen.handlers.tinkex.checkpoints import Checkpoints
from crucible.kitchen.handlers.tinkex.custom_loss import send_custom_loss
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.knowing import Knowledge
from crucible.kitchen.handlers.tinkex.passes import read_batch, send_pass, send_step
from crucible.kitchen.handlers.tinkex.restoring import fresh_client, metadata_of, restored_client
from crucible.kitchen.handlers.tinkex.session import STEP, OpenSession, Waiting, checked_name, step_in
from crucible.kitchen.handlers.torch.tokenizer import tokenizer_from
from crucible.train.custom_loss import CustomLoss, selected
from crucible.train.errors import InvalidRequest, NotFound, SessionClosed, TrainError
from crucible.train.needs import unmet
from crucible.train.ports import CustomLossClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Capabilities,
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

if TYPE_CHECKING:
    import tinker

T = TypeVar("T")

_SAMPLER_WEIGHTS = re.compile(r"tinker://[^/]+/sampler_weights/.")


class TinkerTraining(TrainingClient, CustomLossClient):
    """Trains on a Tinker server. Requests are sent at once, in their order, and never cancelled."""

    def __init__(self, backend: TinkerBackend) -> None:
        self._backend = backend
        self._knowledge = Knowledge(backend)
        self._sessions: dict[str, OpenSession] = {}
        self._prefix = f"tinkex-{secrets.token_hex(4)}"  # so that nothing of another handler, or run, is taken for ours
        self._count = 0

    async def start_session(self, config: SessionConfig) -> Result[TrainingSession, TrainError]:
        """Make a model with fresh adapters on the server."""
        found = await self._backend.connect()
        connection = found.bind(lambda one: one.check(config.model).map(lambda _: one))
        if isinstance(connection, Failure):
            return connection
        known = await self._known(config)
        if isinstance(known, Failure):
            return known
        made = await fresh_client(self._backend, connection.unwrap().service, config)
        limit = connection.unwrap().models.get(config.model)
        return made.map(lambda client: self._register(config, client, limit, {}, known.unwrap()))

    async def restore_session(
        self, config: SessionConfig, path: str, *, with_optimizer: bool = True
    ) -> Result[TrainingSession, TrainError]:
        """Make a model from a checkpoint on the server; the steps it holds are read from the checkpoint's metadata, too."""
        if not path.startswith("tinker://"):
            fix = "give the path that save_checkpoint gave, which begins with tinker://"
            return Failure(NotFound(kind="checkpoint", name=path, fix=fix))
        connection = await self._backend.connect()
        if isinstance(connection, Failure):
            return connection
        known = await self._known(config)
        if isinstance(known, Failure):
            return known
        service, models = connection.unwrap().service, connection.unwrap().models
        made = await restored_client(self._backend, service, config, path, with_optimizer=with_optimizer)
        if isinstance(made, Failure):
            return made
        found = made.unwrap().get_info().model_data.model_name
        if found not in (None, config.model):
            message = f"checkpoint {path} is of model {found!r}, not of {config.model!r}"
            return Failure(InvalidRequest(message=message, fix="restore it with the model it was trained from"))
        kept = await metadata_of(self._backend, path) if with_optimizer else Success({})
        limit = models.get(config.model)
        return kept.map(lambda kept: self._register(config, made.unwrap(), limit, kept, known.unwrap()))

    async def _known(self, config: SessionConfig) -> Result[Capabilities | None, TrainError]:
        """Give what the server can do when the training needs something; None when nobody asked."""
        return await self._knowledge.of(config.model) if config.needs else Success(None)

    def _register(
        self,
        config: SessionConfig,
        client: "tinker.TrainingClient",
        limit: int | None,
        kept: Mapping[str, str],
        known: Capabilities | None,
    ) -> TrainingSession:
        step, metadata = step_in(kept), {name: text for name, text in kept.items() if name != STEP}
        self._count += 1
        length, name = limit or self._backend.config.max_length, f"{self._prefix}-{self._count}"
        self._sessions[name] = OpenSession(name, client, max_length=length, step=step, capabilities=known)
        return TrainingSession(
            id=name,
            model=config.model,
            max_length=length,
            step=step,
            metadata=metadata,
            capabilities=known or Capabilities(),
        )

    async def get_tokenizer(self, session: TrainingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer, loaded from where the server says it is."""
        found = self._find(session.id)
        if isinstance(found, Failure):
            return found
        client = found.unwrap().client
        source = client.get_info().model_data.tokenizer_id
        return await self._backend.tokenizer(session.model, source, lambda: tokenizer_from(client.get_tokenizer()))

    async def forward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Send a pass without gradients."""
        return self._find(session.id).bind(
            lambda opened: read_batch(opened, data, loss_fn, loss_fn_config).map(
                lambda batch: send_pass(self._backend, opened, batch, with_gradients=False)
            )
        )

    async def forward_backward(
        self,
        session: TrainingSession,
        data: Sequence[Datum],
        *,
        loss_fn: LossFn = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Send a pass with gradients."""
        return self._find(session.id).bind(
            lambda opened: (
                read_batch(opened, data, loss_fn, loss_fn_config)
                .bind(with_something_trained)
                .map(lambda batch: send_pass(self._backend, opened, batch, with_gradients=True))
            )
        )

    async def forward_backward_custom(
        self, session: TrainingSession, data: Sequence[Datum], loss: CustomLoss
    ) -> Result[Future[ForwardBackwardOutput], TrainError]:
        """Send a pass, evaluate the loss where its log-probabilities arrive, and send the pass that has its gradient.

        A server that nobody asked about is asked here: of one that averages, the gradient would be another.
        """

        def sent(opened: OpenSession, batch: Batch) -> Future[ForwardBackwardOutput]:
            def send() -> Result[Waiting[ForwardBackwardOutput], TrainError]:
                return send_custom_loss(self._backend, opened, batch, loss)

            return opened.promise("forward_backward_custom", send)

        return (await self._fit_for_custom_losses(session)).bind(
            lambda opened: (
                selected(data)
                .bind(lambda chosen: read_batch(opened, chosen, "cross_entropy", None))
                .bind(with_something_trained)
                .map(lambda batch: sent(opened, batch))
            )
        )

    async def _fit_for_custom_losses(self, session: TrainingSession) -> Result[OpenSession, TrainError]:
        found = self._find(session.id)
        if isinstance(found, Failure) or found.unwrap().capabilities is not None:
            return found.bind(_checked)
        known = await self._knowledge.of(session.model)
        return known.bind(lambda capabilities: _checked(found.unwrap().with_known(capabilities)))

    async def optim_step(
        self, session: TrainingSession, adam: AdamParams
    ) -> Result[Future[OptimStepOutput], TrainError]:
        """Send an optimizer step."""
        return self._find(session.id).map(lambda opened: send_step(self._backend, opened, adam))

    async def await_(self, future: Future[T]) -> Result[T, TrainError]:
        """Wait for what was sent. When the time is up the request goes on, and may be awaited again."""
        opened = self._find(future.session_id)
        sending = opened.bind(lambda one: one.promised(future))
        if isinstance(sending, Failure):
            return sending
        about = About(kind="session", name=future.session_id)
        sent = await self._backend.wait_for_work(sending.unwrap(), about)
        result = sent if isinstance(sent, Failure) else await sent.unwrap()()
        opened.unwrap().forget_old(future)
        return result

    async def save_checkpoint(
        self, session: TrainingSession, name: str, *, metadata: Mapping[str, str] | None = None
    ) -> Result[Checkpoint, TrainError]:
        """Save weights, optimizer and metadata on the server; what was sent before is in it, and nothing else."""

        def request(opened: OpenSession, step: int) -> "ThreadFuture[str]":
            kept = {**(metadata or {}), STEP: str(step)}
            saved = opened.client.save_state(
                opened.unused("checkpoint", name), self._backend.config.ttl_seconds, user_metadata=kept
            )
            return self._backend.then(saved.future(), lambda answer: answer.path)

        saved = await self._save(session, name, request)
        return saved.map(lambda done: Checkpoint(path=done[0], name=name, step=done[1]))

    async def save_sampler_weights(self, session: TrainingSession, name: str) -> Result[SamplerWeights, TrainError]:
        """Save weights for sampling on the server, or make a sampler of the live ones, as configured."""

        def request(opened: OpenSession, step: int) -> "ThreadFuture[str]":
            unused, backend = opened.unused("weights", name), self._backend
            if backend.config.sampler_weights == "live":
                live = opened.client.save_weights_and_get_sampling_client().future()
                return backend.then(live, lambda client: backend.keep_live(f"{opened.id}/{unused}", client))
            saved = opened.client.save_weights_for_sampler(
                unused, backend.config.ttl_seconds, user_metadata={STEP: str(step)}
            )
            return backend.then(saved.future(), lambda answer: answer.path)

        saved = await self._save(session, name, request)
        return saved.map(lambda done: SamplerWeights(path=done[0], model=session.model, step=done[1]))

    async def delete_sampler_weights(self, weights: SamplerWeights) -> Result[None, TrainError]:
        """Delete weights on the server, or let go of the sampler of live ones."""
        if weights.path.startswith("live://"):
            self._backend.live.pop(weights.path, None)
            return Success(None)
        if not _SAMPLER_WEIGHTS.match(weights.path):
            fix = "give what save_sampler_weights gave"
            return Failure(InvalidRequest(message=f"{weights.path} holds no weights for sampling", fix=fix))
        deleted = await Checkpoints(self._backend).delete(weights.path)
        return deleted.lash(lambda error: Success(None) if isinstance(error, NotFound) else Failure(error))

    async def _save(
        self, session: TrainingSession, name: str, request: "Callable[[OpenSession, int], ThreadFuture[str]]"
    ) -> Result[tuple[str, int], TrainError]:
        """Send a request to save, once it is known how many steps were taken before it; give the path, and the steps."""
        found = checked_name(name).bind(lambda _: self._find(session.id))
        if isinstance(found, Failure):
            return found
        opened, about = found.unwrap(), About(kind="session", name=session.id)

        def send() -> Result[Waiting[tuple[str, int]], TrainError]:
            step = self._backend.blocking(lambda: opened.steps(self._backend.config.request_seconds), about)
            return step.bind(
                lambda step: self._backend.called(lambda: request(opened, step), about).map(
                    lambda sent: lambda: self._saved(sent, step, about)
                )
            )

        sent = await self._backend.wait_for_work(opened.send(send), about)
        return sent if isinstance(sent, Failure) else await sent.unwrap()()

    async def _saved(self, sent: "ThreadFuture[str]", step: int, about: About) -> Result[tuple[str, int], TrainError]:
        return (await self._backend.wait(sent, about)).map(lambda path: (path, step))

    async def close_session(self, session: TrainingSession) -> Result[None, TrainError]:
        """Let go of the session; what was sent is carried out all the same."""
        opened = self._sessions.pop(session.id, None)
        if opened is not None:
            opened.close()
        return Success(None)

    def _find(self, session_id: str) -> Result[OpenSession, TrainError]:
        opened = self._sessions.get(session_id)
        return Success(opened) if opened is not None else Failure(SessionClosed(session_id=session_id))


def _checked(opened: OpenSession) -> Result[OpenSession, TrainError]:
    """Give the session when its server can train on custom losses."""
    missing = unmet(("custom_losses",), opened.capabilities or Capabilities())
    return Success(opened) if missing is None else Failure(missing)
