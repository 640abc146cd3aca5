"""`SamplingClient` and `TopLogprobsClient` on nothing: they sample from the bigram model, trained by noop training or not."""

import itertools
import random
from collections.abc import Sequence

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.noop._bigram import TOKENIZER, VOCAB_SIZE, Policy, choose, ranked
from crucible.kitchen.handlers.noop._shelf import Saved, Shelf
from crucible.train.errors import InvalidRequest, SequenceTooLong, SessionClosed, TrainError
from crucible.train.ports import SamplingClient, TopLogprobsClient
from crucible.train.types import (
    ModelInput,
    Sample,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
    TokenId,
    Tokenizer,
    TokenLogprob,
)


def sampling(
    *, seed: int = 0, max_length: int = 32_768, shelf: Shelf | None = None
) -> Handlers[SamplingClient | TopLogprobsClient]:
    """Handle sampling, and likeliest tokens, with the model that `noop.training` trains.

    Log-probabilities are those of temperature 1.

    Args:
        seed: of the untrained model, as in `noop.training`.
        max_length: the model's limit in tokens, prompt and continuation together.
        shelf: where trained weights are looked for; an empty one when None.
    """
    both = _Sampling(seed=seed, max_length=max_length, shelf=shelf or Shelf())
    return SamplingClient.handled_by(both) | TopLogprobsClient.handled_by(both)


class _Sampling(SamplingClient, TopLogprobsClient):
    """A `SamplingClient` and `TopLogprobsClient` that keeps its sessions in this object."""

    def __init__(self, *, seed: int, max_length: int, shelf: Shelf) -> None:
        self._seed = seed
        self._max_length = max_length
        self._shelf = shelf
        self._sessions: dict[str, Policy] = {}
        self._num_started = 0

    async def start_session(self, config: SamplingConfig) -> Result[SamplingSession, TrainError]:
        def opened(saved: Saved) -> Result[SamplingSession, TrainError]:
            if saved.policy.model != config.model:
                message = f"weights {config.weights_path} are of model {saved.policy.model!r}, not of {config.model!r}"
                return Failure(InvalidRequest(message=message, fix="name the model that the weights were trained from"))
            return Success(self._open(config, saved.policy))

        if config.weights_path is None:
            return Success(self._open(config, Policy(config.model, self._seed)))
        return self._shelf.get(config.weights_path, kind="weights").bind(opened)

    async def get_tokenizer(self, session: SamplingSession) -> Result[Tokenizer, TrainError]:
        return self._find(session).map(lambda _: TOKENIZER)

    async def sample(
        self, session: SamplingSession, prompts: Sequence[ModelInput], params: SamplingParams, *, num_samples: int = 1
    ) -> Result[tuple[tuple[Sample, ...], ...], TrainError]:
        def sampled(policy: Policy) -> Result[tuple[tuple[Sample, ...], ...], TrainError]:
            problem = self._problem(prompts, at_least=1, at_most=self._max_length - 1)
            if problem is not None:
                return Failure(problem)
            if num_samples < 1:
                return Failure(InvalidRequest(message=f"num_samples is {num_samples}", fix="ask for at least 1"))
            return Success(
                tuple(
                    self._continue(policy, place, prompt.tokens, params, num_samples)
                    for place, prompt in enumerate(prompts)
                )
            )

        return self._find(session).bind(sampled)

    async def compute_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput]
    ) -> Result[tuple[tuple[float | None, ...], ...], TrainError]:
        def computed(policy: Policy) -> Result[tuple[tuple[float | None, ...], ...], TrainError]:
            problem = self._problem(inputs, at_least=0, at_most=self._max_length)
            if problem is not None:
                return Failure(problem)
            return Success(tuple(_logprobs(policy, item.tokens) for item in inputs))

        return self._find(session).bind(computed)

    async def compute_top_logprobs(
        self, session: SamplingSession, inputs: Sequence[ModelInput], *, num_top: int
    ) -> Result[tuple[tuple[tuple[TokenLogprob, ...], ...], ...], TrainError]:
        def computed(policy: Policy) -> Result[tuple[tuple[tuple[TokenLogprob, ...], ...], ...], TrainError]:
            problem = self._problem(inputs, at_least=0, at_most=self._max_length)
            if problem is not None:
                return Failure(problem)
            if num_top < 1:
                return Failure(InvalidRequest(message=f"num_top is {num_top}", fix="ask for at least 1"))
            return Success(tuple(_top(policy, item.tokens, num_top) for item in inputs))

        return self._find(session).bind(computed)

    async def close_session(self, session: SamplingSession) -> Result[None, TrainError]:
        self._sessions.pop(session.id, None)
        return Success(None)

    def _open(self, config: SamplingConfig, policy: Policy) -> SamplingSession:
        self._num_started += 1
        session_id = f"sampling-{self._num_started}"
        self._sessions[session_id] = policy
        return SamplingSession(
            id=session_id, model=config.model, max_length=self._max_length, weights_path=config.weights_path
        )

    def _find(self, session: SamplingSession) -> Result[Policy, TrainError]:
        policy = self._sessions.get(session.id)
        return Failure(SessionClosed(session_id=session.id)) if policy is None else Success(policy)

    def _problem(self, inputs: Sequence[ModelInput], *, at_least: int, at_most: int) -> TrainError | None:
        for index, item in enumerate(inputs):
            size = len(item)
            if size > at_most:
                return SequenceTooLong(index=index, length=size, limit=at_most)
            if size < at_least:
                return InvalidRequest(message="a prompt is empty", fix="give it at least one token", index=index)
            if not all(0 <= token < VOCAB_SIZE for token in item.tokens):
                fix = "encode text with the session's own tokenizer (get_tokenizer)"
                return InvalidRequest(message=f"a token is not from 0 to {VOCAB_SIZE - 1}", fix=fix, index=index)
        return None

    def _continue(
        self, policy: Policy, place: int, prompt: tuple[TokenId, ...], params: SamplingParams, num_samples: int
    ) -> tuple[Sample, ...]:
        """Sample continuations of one prompt: a function of the seed, the prompt, its place and that of the sample."""
        room = min(params.max_tokens, self._max_length - len(prompt))
        draws = (random.Random(f"sample/{params.seed}/{place}/{i}/{prompt}") for i in range(num_samples))
        return tuple(_sample(policy, prompt[-1], params, room, draw) for draw in draws)


def _sample(policy: Policy, previous: TokenId, params: SamplingParams, room: int, draws: random.Random) -> Sample:
    tokens: list[TokenId] = []
    logprobs: list[float] = []
    ends = [(TOKENIZER.eos_token,), *((token,) for token in params.stop_tokens), *map(TOKENIZER.encode, params.stop)]
    while len(tokens) < room:
        row = policy.logprobs(previous)
        previous = choose(row, draws.random(), temperature=params.temperature, top_k=params.top_k, top_p=params.top_p)
        tokens.append(previous)
        logprobs.append(row[previous])
        if any(end and tuple(tokens[-len(end) :]) == end for end in ends):
            return Sample(tokens=tuple(tokens), logprobs=tuple(logprobs), stop_reason="stop")
    return Sample(tokens=tuple(tokens), logprobs=tuple(logprobs), stop_reason="length")


def _logprobs(policy: Policy, tokens: tuple[TokenId, ...]) -> tuple[float | None, ...]:
    """Give the log-probability of each token after the one before it; None for the first, which has none."""
    pairs = itertools.pairwise(tokens)
    return (None, *(policy.logprobs(previous)[token] for previous, token in pairs)) if tokens else ()


def _top(policy: Policy, tokens: tuple[TokenId, ...], num_top: int) -> tuple[tuple[TokenLogprob, ...], ...]:
    """Give the likeliest tokens in the place of each token; none for the first."""
    rows = [policy.logprobs(previous) for previous in tokens[:-1]]
    return ((), *(tuple(map(TokenLogprob, *_likeliest(row, num_top))) for row in rows)) if tokens else ()


def _likeliest(logprobs: tuple[float, ...], count: int) -> tuple[list[TokenId], list[float]]:
    tokens = ranked(logprobs)[:count]
    return tokens, [logprobs[token] for token in tokens]
