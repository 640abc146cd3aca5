"""The contract of `TopLogprobsClient`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import attrs

from crucible.effects import Do, Eff, Handlers, do, perform
from crucible.testing._laws import Laws, obey, refused, require, require_close, require_equal
from crucible.testing._training_data import TEXTS
from crucible.train.errors import InvalidRequest, SequenceTooLong, SessionClosed, TrainError
from crucible.train.ports import SamplingClient, TopLogprobsClient
from crucible.train.types import ModelInput, SamplingConfig, SamplingParams, SamplingSession, TokenLogprob

Both: TypeAlias = SamplingClient | TopLogprobsClient
Law: TypeAlias = Do[TrainError, Both, None]
Found: TypeAlias = tuple[tuple[tuple[TokenLogprob, ...], ...], ...]


def check_top_logprobs_client(make: Callable[[], Handlers[Both]], *, model: str, tolerance: float = 1e-3) -> None:
    """Put the handlers that `make` gives through the contract of `TopLogprobsClient`.

    Args:
        make: gives the handlers, of both ports, as their sessions are the same; it is called once for each law.
        model: a model that they can sample from.
        tolerance: how far log-probabilities may be apart, relative or absolute, that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    obey(make, _Suite(config=SamplingConfig(model=model), tolerance=tolerance).laws())


@attrs.frozen(kw_only=True)
class _Suite:
    config: SamplingConfig
    tolerance: float

    def laws(self) -> Laws[Both]:
        return {
            "as many tokens as asked for in the place of each token, none in the first's": self.shapes(),
            "the likeliest come first, each token once": self.order(),
            "a token has the log-probability that compute_logprobs gives it": self.agreement(),
            "the likeliest token is the one that greedy sampling takes": self.greedy(),
            "whoever asks for fewer gets the first of those": self.fewer(),
            "whoever asks for more than the vocabulary gets all of it, and its probabilities sum to 1": self.all_of_it(),
            "no inputs, inputs without a token and inputs of one have none": self.nothing(),
            "an input may fill the context": self.full(),
            "bad requests are refused and do no harm": self.bad_requests(),
            "a closed session is closed": self.closing(),
        }

    @do
    def opened(self) -> Do[TrainError, Both, tuple[SamplingSession, tuple[ModelInput, ...]]]:
        session = yield from perform(SamplingClient.start_session, self.config)
        tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
        return session, tuple(ModelInput.from_tokens(tokenizer.encode(text)) for text in TEXTS)

    @do
    def shapes(self) -> Law:
        session, inputs = yield from self.opened()
        found = yield from _top(session, inputs, 3)
        require_equal(tuple(map(len, found)), tuple(map(len, inputs)), "the numbers of places")
        for places in found:
            require_equal(places[0], (), "what stands in the first place, which nothing comes before")
            require_equal({len(place) for place in places[1:]}, {3}, "the numbers of tokens in the other places")
            known = all(place.logprob <= 0 for others in places[1:] for place in others)
            require(known, f"{places} holds a log-probability above 0")

    @do
    def order(self) -> Law:
        session, inputs = yield from self.opened()
        for place in _places((yield from _top(session, inputs, 8))):
            falling = all(one.logprob >= other.logprob for one, other in pairwise(place))
            require(falling, f"{place} does not begin with the likeliest")
            require_equal(len({one.token for one in place}), len(place), f"the number of different tokens of {place}")

    @do
    def agreement(self) -> Law:
        session, inputs = yield from self.opened()
        found = yield from _top(session, inputs, 10_000_000)
        rows = yield from perform(SamplingClient.compute_logprobs, session, inputs)
        for item, places, logprobs in zip(inputs, found, rows, strict=True):
            for token, place, wanted in zip(item.tokens[1:], places[1:], logprobs[1:], strict=True):
                logprob = next((one.logprob for one in place if one.token == token), -math.inf)
                require_close(logprob, wanted or 0.0, f"the log-probability of {token}", tolerance=self.tolerance)

    @do
    def greedy(self) -> Law:
        session, inputs = yield from self.opened()
        for item in inputs:
            params = SamplingParams(max_tokens=1, temperature=0.0)
            [[sample]] = yield from perform(SamplingClient.sample, session, [item], params)
            whole = ModelInput.from_tokens((*item.tokens, sample.tokens[0]))
            [places] = yield from _top(session, [whole], 1)
            require_equal(places[-1][0].token, sample.tokens[0], "the likeliest token")

    @do
    def fewer(self) -> Law:
        session, inputs = yield from self.opened()
        many = yield from _top(session, inputs, 5)
        one = yield from _top(session, inputs, 1)
        for place, single in zip(_places(many), _places(one), strict=True):
            require_equal(len(single), 1, "the number of tokens, of which 1 was asked for")
            require_close(single[0].logprob, place[0].logprob, "the highest log-probability", tolerance=self.tolerance)
            require(single[0].token in {it.token for it in place}, f"{single[0].token} is not among {place}")

    @do
    def all_of_it(self) -> Law:
        session, inputs = yield from self.opened()
        short = ModelInput.from_tokens(inputs[0].tokens[:3])
        tokenizer = yield from perform(SamplingClient.get_tokenizer, session)
        for place in _places((yield from _top(session, [short], 10_000_000))):
            require(
                len(place) >= tokenizer.vocab_size, f"{len(place)} tokens of a vocabulary of {tokenizer.vocab_size}"
            )
            total = math.fsum(math.exp(one.logprob) for one in place)
            require_close(total, 1.0, "the probability of all tokens together", tolerance=self.tolerance)

    @do
    def nothing(self) -> Law:
        session, inputs = yield from self.opened()
        require_equal((yield from _top(session, (), 2)), (), "what was found in no inputs")
        single = ModelInput.from_tokens(inputs[0].tokens[:1])
        mixed = yield from _top(session, [ModelInput(chunks=()), inputs[0], single], 2)
        require_equal(mixed[0], (), "what was found in an input without a token")
        require_equal(mixed[2], ((),), "what was found in an input of one token")
        require_equal(len(mixed[1]), len(inputs[0]), "the number of places of the input between them")

    @do
    def full(self) -> Law:
        session, inputs = yield from self.opened()
        size = session.max_length
        if size > _LONGEST:
            return
        whole = ModelInput.from_tokens((inputs[0].tokens * size)[:size])
        require_equal(len((yield from _top(session, [whole], 1))[0]), size, "the number of places")

    @do
    def bad_requests(self) -> Law:
        session, inputs = yield from self.opened()
        limit = session.max_length
        long = ModelInput.from_tokens(inputs[0].tokens[:1] * (limit + 1))
        error = yield from refused(f"{limit + 1} tokens", _top(session, [inputs[0], long], 1), SequenceTooLong)
        require_equal(error, SequenceTooLong(index=1, length=limit + 1, limit=limit), "the error")
        for count in (0, -1):
            yield from refused(f"asking for {count}", _top(session, inputs, count), InvalidRequest)
        yield from _top(session, inputs, 1)

    @do
    def closing(self) -> Law:
        session, inputs = yield from self.opened()
        other, _ = yield from self.opened()
        yield from perform(SamplingClient.close_session, session)
        yield from refused("a closed session", _top(session, inputs, 1), SessionClosed)
        yield from refused("no inputs in a closed session", _top(session, (), 1), SessionClosed)
        yield from _top(other, inputs, 1)


_LONGEST = 4096
"""Above this a context is not filled: it would take too long."""


def _top(session: SamplingSession, inputs: Sequence[ModelInput], count: int) -> Eff[Found, TrainError, Both]:
    return perform(TopLogprobsClient.compute_top_logprobs, session, inputs, num_top=count)


def _places(found: Found) -> list[tuple[TokenLogprob, ...]]:
    """Give all places but the first of each input."""
    return [place for places in found for place in places[1:]]
