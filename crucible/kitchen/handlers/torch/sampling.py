"""`SamplingClient` and `TopLogprobsClient` on the local engine."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.torch.backend import TorchBackend, checked_arguments, tokenizer_of
from crucible.train.errors import InvalidRequest, SessionClosed, TrainError, Unsupported
from crucible.train.ports import SamplingClient, TopLogprobsClient
from crucible.train.types import (
    ImageChunk,
    ModelInput,
    Sample,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
    Tokenizer,
    TokenLogprob,
)

if TYPE_CHECKING:
    from crucible.engine import LoadedModel, Sampled, Sampler, Sampling

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class _Open:
    sampler: "Sampler"
    loaded: "LoadedModel"


class TorchSampling(SamplingClient, TopLogprobsClient):
    """Samples with torch on this machine, adapters merged into the weights."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        self._sessions: dict[str, _Open] = {}
        self._prefix = f"torch-sampling-{secrets.token_hex(4)}"  # so that no other handler's session is taken for ours
        self._count = 0

    async def start_session(self, config: SamplingConfig) -> Result[SamplingSession, TrainError]:
        """Load the model and merge the trained weights into a copy of what they change."""
        if config.weights_path is not None and (Path(config.weights_path) / "checkpoint.json").exists():
            message = f"{config.weights_path} is a training checkpoint, no weights for sampling"
            return Failure(InvalidRequest(message=message, fix="sample from what save_sampler_weights gave"))
        found = await self._backend.load(config.model)
        if isinstance(found, Failure):
            return found
        loaded = found.unwrap()

        def make() -> "Sampler":
            from crucible.engine import Sampler, read_adapter

            return Sampler(loaded, None if config.weights_path is None else read_adapter(Path(config.weights_path)))

        made = await self._backend.do(make, about=config.weights_path or config.model)
        return made.map(lambda sampler: self._register(config, _Open(sampler=sampler, loaded=loaded)))

    def _register(self, config: SamplingConfig, opened: _Open) -> SamplingSession:
        self._count += 1
        session_id = f"{self._prefix}-{self._count}"
        self._sessions[session_id] = opened
        return SamplingSession(
            id=session_id, model=config.model, max_length=opened.loaded.max_length, weights_path=config.weights_path
        )

    async def get_tokenizer(self, session: SamplingSession) -> Result[Tokenizer, TrainError]:
        """Give the model's tokenizer."""
        return self._find(session).bind(lambda opened: tokenizer_of(opened.loaded))

    async def sample(
        self, session: SamplingSession, prompts: Sequence[ModelInput], params: SamplingParams, *, num_samples: int = 1
    ) -> Result[tuple[tuple[Sample, ...], ...], TrainError]:
        """Sample a batch of prompts; all samples of one prompt share its prefill."""
        opened = self._find(session)
        if isinstance(opened, Failure):
            return opened
        checked = checked_arguments(lambda: _sampling(params)).bind(lambda sampling: _text_only(prompts, sampling))
        if isinstance(checked, Failure) or not prompts:
            return checked.map(lambda _: ())
        sampler, sampling = opened.unwrap().sampler, checked.unwrap()

        def work() -> tuple[tuple[Sample, ...], ...]:
            groups = sampler.sample([prompt.tokens for prompt in prompts], sampling, num_samples=num_samples)
            return tuple(tuple(map(_sample, group)) for group in groups)

        return await self._backend.do(work)

    async def compute_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput]
    ) -> Result[tuple[tuple[float | None, ...], ...], TrainError]:
        """Score whole sequences."""
        opened = self._find(session)
        if isinstance(opened, Failure):
            return opened
        checked = _text_only(inputs, opened.unwrap().sampler)
        if isinstance(checked, Failure) or not inputs:
            return checked.map(lambda _: ())
        sampler = checked.unwrap()
        return await self._backend.do(lambda: tuple(map(tuple, sampler.logprobs([one.tokens for one in inputs]))))

    async def compute_top_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput], *, num_top: int
    ) -> Result[tuple[tuple[tuple[TokenLogprob, ...], ...], ...], TrainError]:
        """Score the whole vocabulary in the place of each token, a micro-batch at a time, and keep the likeliest."""
        opened = self._find(session)
        if isinstance(opened, Failure):
            return opened
        checked = _text_only(inputs, opened.unwrap().sampler)
        if isinstance(checked, Failure):
            return checked
        if num_top < 1:
            return Failure(InvalidRequest(message=f"num_top is {num_top}", fix="ask for at least 1"))
        sampler, asked = checked.unwrap(), [one.tokens for one in inputs if len(one)]
        if not asked:
            return Success(((),) * len(inputs))

        def work() -> tuple[tuple[tuple[TokenLogprob, ...], ...], ...]:
            found = iter(sampler.top_logprobs(asked, num_top))
            return tuple(_top(next(found)) if len(one) else () for one in inputs)

        return await self._backend.do(work)

    async def close_session(self, session: SamplingSession) -> Result[None, TrainError]:
        """Let go of the merged weights."""
        self._sessions.pop(session.id, None)
        return Success(None)

    def _find(self, session: SamplingSession) -> Result[_Open, TrainError]:
        opened = self._sessions.get(session.id)
        return Success(opened) if opened is not None else Failure(SessionClosed(session_id=session.id))


def _text_only(inputs: Sequence[ModelInput], value: T) -> Result[T, TrainError]:
    """Give `value` when no input holds an image, which would be read as token 0."""
    for index, one in enumerate(inputs):
        if any(isinstance(chunk, ImageChunk) for chunk in one.chunks):
            return Failure(Unsupported(feature=f"images (item {index})", backend="the torch handler"))
    return Success(value)


def _sampling(params: SamplingParams) -> "Sampling":
    from crucible.engine import Sampling

    return Sampling(
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        stop=params.stop_tokens,
        stop_strings=params.stop,
        seed=params.seed,
    )


def _sample(sampled: "Sampled") -> Sample:
    return Sample(tokens=sampled.tokens, logprobs=sampled.logprobs, stop_reason=sampled.stop_reason)


def _top(places: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[TokenLogprob, ...], ...]:
    return tuple(tuple(TokenLogprob(*pair) for pair in place) for place in places)
