"""The contract of `SamplingClient`, as a suite that any handler can be put through."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from crucible.effects import Do, Eff, Handlers, do, perform
from crucible.testing._laws import Laws, obey, refused, require, require_close, require_equal
from crucible.testing._training_data import TEXTS, examples, looked, trained
from crucible.train.errors import InvalidRequest, NotFound, SequenceTooLong, SessionClosed, TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import (
    ModelInput,
    Sample,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
    SessionConfig,
    TokenId,
    Tokenizer,
)

Law: TypeAlias = Do[TrainError, SamplingClient, None]


def check_sampling_client(
    make: Callable[[], Handlers[SamplingClient]], *, model: str, max_tokens: int = 8, tolerance: float = 1e-3
) -> None:
    """Put the handlers that `make` gives through the contract of `SamplingClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        model: a model that they can sample from.
        max_tokens: how much each law samples, at least 2.
        tolerance: how far log-probabilities may be apart, relative or absolute, that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    obey(make, _Suite(config=SamplingConfig(model=model), size=max_tokens, tolerance=tolerance).laws())


def check_training_with_sampling(
    make: Callable[[], Handlers[TrainingClient | SamplingClient]],
    *,
    model: str,
    learning_rate: float = 1e-3,
    tolerance: float = 1e-3,
) -> None:
    """Put handlers of both ports through what they promise each other: a sampler reads what training saved.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "trainer and sampler agree on every log-probability": _agreement(model, tolerance),
        "saved weights are a fixed version, better at what was trained": _versions(model, learning_rate, tolerance),
        "weights that were deleted are gone, what samples from them goes on, and others stay": _deleting(model),
    }
    obey(make, laws)


@attrs.frozen(kw_only=True)
class _Suite:
    config: SamplingConfig
    size: int
    tolerance: float

    def laws(self) -> Laws[SamplingClient]:
        return {
            "one continuation for each prompt and sample, one log-probability for each token": self.shapes(),
            "the same call gives the same samples": self.seeds(),
            "equal prompts in one call, and samples of one prompt, differ": self.variety(),
            "at temperature 0 the seed does not matter, and top_k 1 is the same": self.greedy(),
            "a stop token ends a sample and is its last token": self.stopping(),
            "compute_logprobs gives one number for each token, the first None": self.scoring(),
            "samples carry the log-probabilities that compute_logprobs gives them": self.agreement(),
            "weights that are not there are not found": self.missing_weights(),
            "bad requests are refused and do no harm": self.bad_requests(),
            "a closed session is closed, others are not": self.closing(),
            "no prompts have no samples": self.nothing(),
        }

    @do
    def opened(self) -> Do[TrainError, SamplingClient, tuple[SamplingSession, tuple[ModelInput, ...]]]:
        session = yield from perform(SamplingClient.start_session, self.config)
        tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
        return session, _prompts(tokenizer)

    def params(self, *, seed: int = 0, temperature: float = 1.0, top_k: int = -1) -> SamplingParams:
        return SamplingParams(max_tokens=self.size, seed=seed, temperature=temperature, top_k=top_k)

    @do
    def shapes(self) -> Law:
        session, prompts = yield from self.opened()
        require_equal((session.model, session.weights_path), (self.config.model, None), "what the session says it is")
        tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
        groups = yield from perform(SamplingClient.sample, session, prompts, self.params(), num_samples=3)
        require_equal(tuple(map(len, groups)), (3,) * len(prompts), "the numbers of samples")
        for sample in (sample for group in groups for sample in group):
            require(0 < len(sample.tokens) <= self.size, f"{len(sample.tokens)} tokens, asked for {self.size}")
            require_equal(len(sample.logprobs), len(sample.tokens), "the number of log-probabilities")
            require(
                all(logprob <= 0 for logprob in sample.logprobs), f"a log-probability of {sample.logprobs} is above 0"
            )
            known = all(0 <= token < tokenizer.vocab_size for token in sample.tokens)
            require(known, f"a token of {sample.tokens} is out of range")
            cut = sample.stop_reason == "length"
            require(not cut or len(sample.tokens) == self.size, "a sample ended for its length before max_tokens")

    @do
    def nothing(self) -> Law:
        session, _ = yield from self.opened()
        require_equal((yield from perform(SamplingClient.sample, session, (), self.params())), (), "the samples")
        require_equal((yield from perform(SamplingClient.compute_logprobs, session, ())), (), "the log-probabilities")

    @do
    def seeds(self) -> Law:
        session, prompts = yield from self.opened()
        params = self.params(seed=7)
        first = yield from perform(SamplingClient.sample, session, prompts, params, num_samples=2)
        again = yield from perform(SamplingClient.sample, session, prompts, params, num_samples=2)
        require_equal(_tokens(again), _tokens(first), "what the same seed gave")

    @do
    def variety(self) -> Law:
        session, prompts = yield from self.opened()
        equal, params = prompts[:1] * 4, self.params(seed=7)
        places = yield from perform(SamplingClient.sample, session, equal, params)
        require(len(set(_tokens(places))) > 1, "four equal prompts in one call got the same samples")
        group = yield from perform(SamplingClient.sample, session, prompts[:1], params, num_samples=4)
        require(len({sample.tokens for sample in group[0]}) > 1, "four samples of one prompt are the same")

    @do
    def greedy(self) -> Law:
        session, prompts = yield from self.opened()
        found = set()
        for params in (self.params(seed=1, temperature=0), self.params(seed=2, temperature=0), self.params(top_k=1)):
            found.add(_tokens((yield from perform(SamplingClient.sample, session, prompts, params))))
        require_equal(len(found), 1, "the number of different greedy continuations")

    @do
    def stopping(self) -> Law:
        session, prompts = yield from self.opened()
        greedy = self.params(temperature=0)
        free = yield from perform(SamplingClient.sample, session, prompts[:1], greedy)
        token = free[0][0].tokens[0]
        stopping = attrs.evolve(greedy, stop_tokens=(token,))
        held = yield from perform(SamplingClient.sample, session, prompts[:1], stopping)
        require_equal((held[0][0].tokens, held[0][0].stop_reason), ((token,), "stop"), "the stopped sample")

    @do
    def scoring(self) -> Law:
        session, prompts = yield from self.opened()
        rows = yield from perform(SamplingClient.compute_logprobs, session, prompts)
        require_equal(tuple(map(len, rows)), tuple(map(len, prompts)), "the numbers of log-probabilities")
        for row in rows:
            require(row[0] is None, f"the first token has log-probability {row[0]}, but nothing comes before it")
            require(
                all(logprob is not None and logprob <= 0 for logprob in row[1:]), f"{row} holds no log-probabilities"
            )

    @do
    def agreement(self) -> Law:
        session, prompts = yield from self.opened()
        groups = yield from perform(SamplingClient.sample, session, prompts, self.params())
        wholes = [_joined(prompt, group[0].tokens) for prompt, group in zip(prompts, groups, strict=True)]
        rows = yield from perform(SamplingClient.compute_logprobs, session, wholes)
        for prompt, group, row in zip(prompts, groups, rows, strict=True):
            for found, wanted in zip(group[0].logprobs, row[len(prompt) :], strict=True):
                require(wanted is not None, "a sampled token has no log-probability")
                require_close(found, wanted or 0.0, "the log-probability of a sampled token", tolerance=self.tolerance)

    @do
    def missing_weights(self) -> Law:
        config = attrs.evolve(self.config, weights_path="no-such-weights")
        opening = perform(SamplingClient.start_session, config)
        yield from refused("weights that were never saved", opening, NotFound, InvalidRequest)

    @do
    def bad_requests(self) -> Law:
        session, prompts = yield from self.opened()
        size = session.max_length
        # A prompt must leave room for one token: the limit of sampling is one below the model's.
        for what, limit, operation in (("sampling from", size - 1, _sample), ("scoring", size, _score)):
            long = ModelInput.from_tokens(prompts[0].tokens[:1] * (limit + 1))
            use = operation(session, [prompts[0], long])
            error = yield from refused(f"{what} {limit + 1} tokens", use, SequenceTooLong)
            require_equal(error, SequenceTooLong(index=1, length=limit + 1, limit=limit), "the error")
        none = perform(SamplingClient.sample, session, prompts, self.params(), num_samples=0)
        yield from refused("asking for no sample", none, InvalidRequest)
        yield from perform(SamplingClient.sample, session, prompts, self.params())

    @do
    def closing(self) -> Law:
        session, prompts = yield from self.opened()
        other, _ = yield from self.opened()
        for _ in range(2):
            yield from perform(SamplingClient.close_session, session)
        for what, use in _uses(session, prompts).items():
            yield from refused(f"{what} in a closed session", use, SessionClosed)
        stranger = attrs.evolve(session, id="never-opened")
        yield from refused(
            "a session that was never opened", perform(SamplingClient.get_tokenizer, stranger), SessionClosed
        )
        yield from perform(SamplingClient.compute_logprobs, other, prompts)


@do
def _agreement(model: str, tolerance: float) -> Do[TrainError, TrainingClient | SamplingClient, None]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model))
    tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
    data = examples(tokenizer)
    trainer = yield from looked(session, data)
    sampler = yield from perform(SamplingClient.start_session, SamplingConfig(model=model))
    rows = yield from perform(SamplingClient.compute_logprobs, sampler, _prompts(tokenizer))
    for learned, row in zip(trainer.logprobs, rows, strict=True):
        for found, wanted in zip(learned[1:], row[2:], strict=True):  # the first target has weight 0
            require_close(found, wanted or 0.0, "the trainer's log-probability", tolerance=tolerance)


@do
def _versions(model: str, rate: float, tolerance: float) -> Do[TrainError, TrainingClient | SamplingClient, None]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model))
    tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
    base = yield from _likelihood(SamplingConfig(model=model), tokenizer)
    yield from trained(session, examples(tokenizer), rate, 3)
    saved = yield from perform(TrainingClient.save_sampler_weights, session, "contract")
    config = SamplingConfig(model=model, weights_path=saved.path)
    better = yield from _likelihood(config, tokenizer)
    require(better > base, f"training moved the log-likelihood of its data from {base} to {better}")
    yield from trained(session, examples(tokenizer), rate, 1)
    yield from perform(TrainingClient.save_sampler_weights, session, "contract")  # under the same name
    same = yield from _likelihood(config, tokenizer)
    require_close(same, better, "the log-likelihood under saved weights after more training", tolerance=tolerance)


@do
def _deleting(model: str) -> Do[TrainError, TrainingClient | SamplingClient, None]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model))
    tokenizer = yield from perform(TrainingClient.get_tokenizer, session)
    going = yield from perform(TrainingClient.save_sampler_weights, session, "going")
    staying = yield from perform(TrainingClient.save_sampler_weights, session, "staying")
    config = SamplingConfig(model=model, weights_path=going.path)
    sampler = yield from perform(SamplingClient.start_session, config)
    before = yield from perform(SamplingClient.compute_logprobs, sampler, _prompts(tokenizer))
    yield from perform(TrainingClient.delete_sampler_weights, going)
    after = yield from perform(SamplingClient.compute_logprobs, sampler, _prompts(tokenizer))
    require_equal(after, before, "what a sampler says whose weights were deleted")
    yield from refused("opening deleted weights", perform(SamplingClient.start_session, config), NotFound)
    yield from perform(SamplingClient.start_session, attrs.evolve(config, weights_path=staying.path))
    yield from perform(TrainingClient.delete_sampler_weights, going)


@do
def _likelihood(config: SamplingConfig, tokenizer: Tokenizer) -> Do[TrainError, SamplingClient, float]:
    session = yield from perform(SamplingClient.start_session, config)
    rows = yield from perform(SamplingClient.compute_logprobs, session, _prompts(tokenizer))
    return sum(logprob or 0.0 for row in rows for logprob in row)


def _prompts(tokenizer: Tokenizer) -> tuple[ModelInput, ...]:
    return tuple(ModelInput.from_tokens(tokenizer.encode(text)) for text in TEXTS)


def _joined(prompt: ModelInput, tokens: Sequence[TokenId]) -> ModelInput:
    return ModelInput.from_tokens((*prompt.tokens, *tokens))


def _tokens(groups: Sequence[Sequence[Sample]]) -> tuple[tuple[tuple[TokenId, ...], ...], ...]:
    return tuple(tuple(sample.tokens for sample in group) for group in groups)


def _sample(session: SamplingSession, prompts: Sequence[ModelInput]) -> Eff[object, TrainError, SamplingClient]:
    return perform(SamplingClient.sample, session, prompts, SamplingParams(max_tokens=1))


def _score(session: SamplingSession, inputs: Sequence[ModelInput]) -> Eff[object, TrainError, SamplingClient]:
    return perform(SamplingClient.compute_logprobs, session, inputs)


def _uses(
    session: SamplingSession, prompts: Sequence[ModelInput]
) -> dict[str, Eff[object, TrainError, SamplingClient]]:
    return {
        "the tokenizer": perform(SamplingClient.get_tokenizer, session),
        "sample": _sample(session, prompts),
        "compute_logprobs": _score(session, prompts),
    }
