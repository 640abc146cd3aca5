"""`SamplingClient` and `TopLogprobsClient` on a Tinker server."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future as ThreadFuture
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.tinkex.backend import TinkerBackend
from crucible.kitchen.handlers.tinkex.errors import About
from crucible.kitchen.handlers.tinkex.wire import (
    cut,
    input_to,
    logprobs_of,
    samples_of,
    sampling_to,
    top_of,
)
from crucible.kitchen.handlers.torch.tokenizer import tokenizer_from
from crucible.train.errors import InvalidRequest, NotFound, SequenceTooLong, SessionClosed, TrainError
from crucible.train.ports import SamplingClient, TopLogprobsClient
from crucible.train.types import (
    ModelInput,
    Sample,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
    Tokenizer,
    TokenLogprob,
)

if TYPE_CHECKING:
    import tinker
    import tinker.types as wire

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class _Open:
    client: "tinker.SamplingClient"
    session: SamplingSession


class TinkerSampling(SamplingClient, TopLogprobsClient):
    """Samples on a Tinker server: all prompts of a call at once. What is not waited for any more is cancelled."""

    def __init__(self, backend: TinkerBackend) -> None:
        self._backend = backend
        self._sessions: dict[str, _Open] = {}
        self._prefix = f"tinkex-sampling-{secrets.token_hex(4)}"  # so that no other handler's session is taken for ours
        self._count = 0

    async def start_session(self, config: SamplingConfig) -> Result[SamplingSession, TrainError]:
        """Open a sampler of a base model, or of weights that training saved."""
        path = config.weights_path
        if path is not None and path not in self._backend.live and not path.startswith("tinker://"):
            fix = "give the path that save_sampler_weights gave, which begins with tinker://"
            return Failure(NotFound(kind="weights", name=path, fix=fix))
        found = await self._backend.connect()
        connection = found.bind(lambda one: one.check(config.model).map(lambda _: one))
        if isinstance(connection, Failure):
            return connection
        limit = connection.unwrap().models.get(config.model) or self._backend.config.max_length
        opened = await self._opened(connection.unwrap().service, config)
        return opened.bind(lambda client: self._register(config, client, limit))

    async def _opened(
        self, service: "tinker.ServiceClient", config: SamplingConfig
    ) -> "Result[tinker.SamplingClient, TrainError]":
        path = config.weights_path
        if path is None:
            about = About(kind="model", name=config.model)
            return await self._backend.ask(
                lambda: service.create_sampling_client(base_model=config.model).future(), about
            )
        if path in self._backend.live:
            return Success(self._backend.live[path])
        about = About(kind="weights", name=path)
        return await self._backend.ask(lambda: service.create_sampling_client(model_path=path).future(), about)

    def _register(
        self, config: SamplingConfig, client: "tinker.SamplingClient", limit: int
    ) -> Result[SamplingSession, TrainError]:
        found = client.get_base_model()
        if found != config.model:
            message = f"weights {config.weights_path} are of model {found!r}, not of {config.model!r}"
            return Failure(InvalidRequest(message=message, fix="name the model that the weights were trained from"))
        self._count += 1
        session_id = f"{self._prefix}-{self._count}"
        session = SamplingSession(id=session_id, model=config.model, max_length=limit, weights_path=config.weights_path)
        self._sessions[session_id] = _Open(client=client, session=session)
        return Success(session)

    async def get_tokenizer(self, session: SamplingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer, loaded by transformers."""
        found = self._find(session)
        if isinstance(found, Failure):
            return found
        return await self._backend.tokenizer(
            session.model, None, lambda: tokenizer_from(found.unwrap().client.get_tokenizer())
        )

    async def sample(
        self, session: SamplingSession, prompts: Sequence[ModelInput], params: SamplingParams, *, num_samples: int = 1
    ) -> Result[tuple[tuple[Sample, ...], ...], TrainError]:
        """Sample all prompts at once. With stop texts and stop tokens both, the texts are cut off here."""
        found = self._find(session).bind(lambda opened: _sound(opened, prompts, num_samples))
        if isinstance(found, Failure) or not prompts:
            return found.map(lambda _: ())
        client, tokenizer = found.unwrap().client, None
        if params.stop or params.stop_tokens:
            loaded = await self.get_tokenizer(session)
            if isinstance(loaded, Failure):
                return loaded
            tokenizer = loaded.unwrap()

        def asked(place: int, prompt: ModelInput) -> "ThreadFuture[wire.SampleResponse]":
            room = min(params.max_tokens, session.max_length - len(prompt))
            settings = sampling_to(params, tokenizer, place=place, max_tokens=room)
            return client.sample(input_to(prompt), num_samples, settings).future()

        answers = await self._all([partial(asked, place, prompt) for place, prompt in enumerate(prompts)], session)
        return answers.bind(lambda found: _gathered(samples_of(one, num_samples) for one in found)).map(
            lambda groups: tuple(tuple(cut(one, params, tokenizer) for one in group) for group in groups)
        )

    async def compute_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput]
    ) -> Result[tuple[tuple[float | None, ...], ...], TrainError]:
        """Score whole sequences, all at once."""
        found = self._find(session).bind(lambda opened: _short_enough(opened, inputs, session.max_length))
        if isinstance(found, Failure) or not inputs:
            return found.map(lambda _: ())
        client = found.unwrap().client
        scored = [one for one in inputs if len(one) > 1]
        answers = await self._all(
            [partial(lambda one: client.compute_logprobs(input_to(one)).future(), one) for one in scored], session
        )

        rest = answers.map(iter)
        return rest.bind(
            lambda found: _gathered(
                logprobs_of(next(found), len(one)) if len(one) > 1 else Success((None,) * len(one)) for one in inputs
            )
        )

    async def compute_top_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput], *, num_top: int
    ) -> Result[tuple[tuple[tuple[TokenLogprob, ...], ...], ...], TrainError]:
        """Ask for the likeliest tokens of all inputs at once, each with a sample of one token, which is not used.

        How many a server gives is up to it: what it refuses is an error.
        """
        found = self._find(session).bind(lambda opened: _short_enough(opened, inputs, session.max_length))
        if isinstance(found, Failure):
            return found
        if num_top < 1:
            return Failure(InvalidRequest(message=f"num_top is {num_top}", fix="ask for at least 1"))
        client, one_token = found.unwrap().client, sampling_to(SamplingParams(), None, place=0, max_tokens=1)

        def asked(one: ModelInput) -> "ThreadFuture[wire.SampleResponse]":
            return client.sample(input_to(one), 1, one_token, topk_prompt_logprobs=num_top).future()

        answers = await self._all([partial(asked, one) for one in inputs if len(one) > 1], session)
        rest = answers.map(iter)
        return rest.bind(
            lambda found: _gathered(
                top_of(next(found), len(one)) if len(one) > 1 else Success(((),) * len(one)) for one in inputs
            )
        )

    async def _all(
        self, calls: "Sequence[Callable[[], ThreadFuture[T]]]", session: SamplingSession
    ) -> Result[tuple[T, ...], TrainError]:
        """Send every request, and wait for all; what is not waited for any more is cancelled."""
        about = About(kind="session", name=session.id)
        sent: list[ThreadFuture[T]] = []
        answers: list[T] = []
        try:
            for call in calls:
                called = self._backend.called(call, about)
                if isinstance(called, Failure):
                    return called
                sent.append(called.unwrap())
            for future in sent:
                answer = await self._backend.wait(future, about)
                if isinstance(answer, Failure):
                    return answer
                answers.append(answer.unwrap())
        finally:
            for future in sent:
                future.cancel()
        return Success(tuple(answers))

    async def close_session(self, session: SamplingSession) -> Result[None, TrainError]:
        """Let go of the sampler."""
        self._sessions.pop(session.id, None)
        return Success(None)

    def _find(self, session: SamplingSession) -> Result[_Open, TrainError]:
        opened = self._sessions.get(session.id)
        return Success(opened) if opened is not None else Failure(SessionClosed(session_id=session.id))


def _gathered(results: Iterable[Result[T, TrainError]]) -> Result[tuple[T, ...], TrainError]:
    """Give all values, or the first error."""
    values: list[T] = []
    for result in results:
        if isinstance(result, Failure):
            return Failure(result.failure())
        values.append(result.unwrap())
    return Success(tuple(values))


def _short_enough(opened: _Open, inputs: Sequence[ModelInput], limit: int) -> Result[_Open, TrainError]:
    for index, one in enumerate(inputs):
        if len(one) > limit:
            return Failure(SequenceTooLong(index=index, length=len(one), limit=limit))
    return Success(opened)


def _sound(opened: _Open, prompts: Sequence[ModelInput], count: int) -> Result[_Open, TrainError]:
    """Refuse what cannot be sampled from: a prompt must leave room for one token."""
    if count < 1:
        return Failure(InvalidRequest(message=f"{count} were asked for", fix="ask for at least 1"))
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            return Failure(InvalidRequest(message="a prompt is empty", fix="give it at least one token", index=index))
    return _short_enough(opened, prompts, opened.session.max_length - 1)
