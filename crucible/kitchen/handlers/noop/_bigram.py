"""A real language model that needs nothing: it predicts a token from the one before it.

The noop handlers train it and sample from it, so a workflow on them sees losses that go down, policies that move towards
what is rewarded, and samplers that agree with trainers. Tokens are those of `ByteTokenizer`.
"""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache

from crucible.train.types import ByteTokenizer, TokenId

TOKENIZER = ByteTokenizer()
VOCAB_SIZE = TOKENIZER.vocab_size


class Policy:
    """One immutable version of the model: a base, named by model and seed, and what training added to its logits."""

    __slots__ = ("_cache", "changes", "model", "seed")

    def __init__(self, model: str, seed: int, changes: Mapping[TokenId, tuple[float, ...]] | None = None) -> None:
        self.model = model
        self.seed = seed
        self.changes = dict(changes or {})
        self._cache: dict[TokenId, tuple[float, ...]] = {}

    def logits(self, previous: TokenId) -> tuple[float, ...]:
        """Give one logit for each token that may follow `previous`."""
        base = _base_logits(self.model, self.seed, previous)
        change = self.changes.get(previous)
        return base if change is None else tuple(map(float.__add__, base, change))

    def logprobs(self, previous: TokenId) -> tuple[float, ...]:
        """Give one log-probability for each token that may follow `previous`."""
        row = self._cache.get(previous)
        if row is None:
            row = self._cache[previous] = log_softmax(self.logits(previous))
        return row

    def moved(self, changes: Mapping[TokenId, tuple[float, ...]]) -> "Policy":
        """Give the version with `changes` instead of its own for the tokens named in them."""
        return Policy(self.model, self.seed, {**self.changes, **changes})


def log_softmax(logits: Sequence[float]) -> tuple[float, ...]:
    """Normalise logits to log-probabilities.

    >>> log_softmax((0.0, 0.0))
    (-0.6931471805599453, -0.6931471805599453)
    """
    top = max(logits)
    norm = top + math.log(sum(map(math.exp, (logit - top for logit in logits))))
    return tuple([logit - norm for logit in logits])


def choose(
    logprobs: Sequence[float], draw: float, *, temperature: float = 1.0, top_k: int = -1, top_p: float = 1.0
) -> TokenId:
    """Give the token at the point `draw` (from 0 to 1) of a distribution; temperature 0 gives the likeliest.

    >>> choose((math.log(0.25), math.log(0.75)), 0.2), choose((math.log(0.25), math.log(0.75)), 0.2, temperature=0)
    (0, 1)
    """
    order = range(len(logprobs)) if top_k < 0 and top_p == 1 else ranked(logprobs)
    if temperature == 0:
        return max(order, key=lambda token: logprobs[token])
    kept = list(order)[: top_k if top_k > 0 else None]
    top = max(logprobs)
    mass = [math.exp((logprobs[token] - top) / temperature) for token in kept]
    ends = list(itertools.accumulate(mass))
    if top_p < 1:
        size = 1 + sum(end < top_p * ends[-1] for end in ends[:-1])
        kept, ends = kept[:size], ends[:size]
    point = draw * ends[-1]
    return next((token for token, end in zip(kept, ends, strict=True) if point < end), kept[-1])


def ranked(logprobs: Sequence[float]) -> list[TokenId]:
    """Give all tokens, the likeliest first.

    >>> ranked((-2.0, -1.0, -2.0))
    [1, 0, 2]
    """
    return sorted(range(len(logprobs)), key=lambda token: -logprobs[token])


@lru_cache(maxsize=1024)
def _base_logits(model: str, seed: int, previous: TokenId) -> tuple[float, ...]:
    """Draw the logits of an untrained model: printable text, and a turn that ends after some twenty tokens."""
    draw = random.Random(f"bigram/{model}/{seed}/{previous}").random
    return tuple([_tendency(token) + draw() for token in range(VOCAB_SIZE)])


def _tendency(token: TokenId) -> float:
    if token == TOKENIZER.eos_token:
        return 1.5
    return 0.0 if 32 <= token < 127 else -6.0
