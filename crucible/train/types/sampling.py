"""What goes to a sampling backend and what comes back."""

from typing import Literal, NamedTuple, TypeAlias

import attrs

from crucible.fields import AT_LEAST_0, AT_LEAST_1, NOT_EMPTY, Limits, checked, within
from crucible.train.types.inputs import TokenId

StopReason: TypeAlias = Literal["stop", "length"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class SamplingParams:
    """How to sample. Temperature 0 is greedy; `top_k` -1 is off; the end-of-sequence token always stops."""

    max_tokens: int = attrs.field(default=256, metadata=AT_LEAST_1)
    temperature: float = attrs.field(default=1.0, metadata=AT_LEAST_0)
    top_k: int = attrs.field(default=-1, metadata=within(Limits(at_least=-1)))
    top_p: float = attrs.field(default=1.0, metadata=within(Limits(above=0, at_most=1)))
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[TokenId, ...] = ()
    seed: int = 0


@attrs.frozen(kw_only=True, field_transformer=checked)
class SamplingConfig:
    """What a sampling session reads: a base model, with trained weights on it or without."""

    model: str = attrs.field(metadata=NOT_EMPTY)
    weights_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)


@attrs.frozen(kw_only=True)
class SamplingSession:
    """An open sampling session: an immutable policy version."""

    id: str
    model: str
    max_length: int
    weights_path: str | None = None


@attrs.frozen(kw_only=True)
class Sample:
    """One sampled continuation: its tokens, one log-probability for each, and why it ended.

    The tokens do not hold the prompt. A stop token is the last token; text is never re-tokenised.
    """

    tokens: tuple[TokenId, ...]
    logprobs: tuple[float, ...]
    stop_reason: StopReason


class TokenLogprob(NamedTuple):
    """A token and its log-probability."""

    token: TokenId
    logprob: float
