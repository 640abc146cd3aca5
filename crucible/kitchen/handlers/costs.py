"""What calls to models cost, in tokens or money, for `Budget` and `Rate`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from crucible.effects import Call, Cost, Result, fold
from crucible.kitchen.ports import Completer
from crucible.train.ports import (
    CustomLossClient,
    EmbeddingClient,
    LLMClient,
    SamplingClient,
    TopLogprobsClient,
    TrainingClient,
)
from crucible.train.types import Message, images_of, text_of, thinking_of

Operation: TypeAlias = Callable[..., object]

_TOKENS_OF_A_TURN = 16
"""What a chat template may add to a message."""

_TOKENS_OF_AN_IMAGE = 2048


@attrs.frozen
class Price:
    """What a million tokens cost, read and written, in calls of one operation."""

    operation: Operation
    read: float = attrs.field(kw_only=True)
    written: float = attrs.field(kw_only=True)


@attrs.frozen(kw_only=True)
class _Tokens:
    """How many tokens a call reads, and how many it writes."""

    read: int
    written: int = 0


def tokens(*, most_of_an_answer: int = 4096) -> Cost:
    """Count the tokens that models read and write, in training, sampling, chats and embeddings; other calls are free.

    Before a call is made its text counts a token for each byte, and its answer all that it asks for: a bound that few texts
    reach. Afterwards what the answer tells counts.

    >>> from crucible.effects import Budget, spend
    >>> from crucible.kitchen.handlers import noop
    >>> handlers = spend(noop.llm(), Budget(100_000, tokens()))

    Args:
        most_of_an_answer: the tokens of an answer, where a chat sets no `max_tokens`.
    """
    return _cost("tokens", lambda operation, count: count.read + count.written, most_of_an_answer)


def money(*prices: Price, currency: str = "USD", most_of_an_answer: int = 4096) -> Cost:
    """Count what models cost at `prices`; operations that have none are free.

    >>> from crucible.train.ports import LLMClient
    >>> money(Price(LLMClient.chat, read=0.5, written=1.5)).unit
    'USD'

    Args:
        prices: what a million tokens cost, for each operation that costs something.
        currency: the name of the unit.
        most_of_an_answer: the tokens of an answer, where a chat sets no `max_tokens`.
    """
    known = {price.operation: price for price in prices}

    def price(operation: Operation, count: _Tokens) -> float | None:
        of_it = known.get(operation)
        return None if of_it is None else (of_it.read * count.read + of_it.written * count.written) / 1e6

    return _cost(currency, price, most_of_an_answer)


def _cost(unit: str, price: Callable[[Operation, _Tokens], float | None], most_of_an_answer: int) -> Cost:
    def at_most(call: Call) -> float | None:
        foretell = _FORETOLD.get(call.operation)
        return None if foretell is None else price(call.operation, foretell(call.by_name, most_of_an_answer))

    def spent(call: Call, result: Result[object, object] | None, seconds: float) -> float:
        tell = _TOLD.get(call.operation)
        if result is None or tell is None:  # cancelled, or all is known before
            return at_most(call) or 0.0
        read = _FORETOLD[call.operation](call.by_name, most_of_an_answer).read
        count = fold(result, lambda value: tell(value, read), lambda error: _Tokens(read=0))
        return price(call.operation, count) or 0.0

    return Cost(unit=unit, at_most=at_most, spent=spent)


def _inputs(inputs: Iterable[Any]) -> int:
    return sum(map(len, inputs))


def _data(named: Mapping[str, Any], most: int) -> _Tokens:
    return _Tokens(read=sum(len(datum.model_input) for datum in named["data"]))


def _sampled(named: Mapping[str, Any], most: int) -> _Tokens:
    written = len(named["prompts"]) * named["num_samples"] * named["params"].max_tokens
    return _Tokens(read=_inputs(named["prompts"]), written=written)


def _chat(named: Mapping[str, Any], most: int) -> _Tokens:
    tools = sum(len(str(tool).encode()) for tool in named["options"].tools)
    return _Tokens(read=_read(named["messages"]) + tools, written=named["options"].max_tokens or most)


def _batch(named: Mapping[str, Any], most: int) -> _Tokens:
    each = [_chat({**named, "messages": messages}, most) for messages in named["conversations"]]
    return _Tokens(read=sum(count.read for count in each), written=sum(count.written for count in each))


def _read(messages: Sequence[Message]) -> int:
    """Bound the tokens of a conversation: a token has a byte at least."""
    texts = [text_of(message) + thinking_of(message) + str(message.tool_calls or "") for message in messages]
    images = sum(len(images_of(message)) for message in messages)
    turns = _TOKENS_OF_A_TURN * (len(messages) + 1)
    return sum(len(text.encode()) for text in texts) + _TOKENS_OF_AN_IMAGE * images + turns


_FORETOLD: dict[Operation, Callable[[Mapping[str, Any], int], _Tokens]] = {
    TrainingClient.forward: _data,
    TrainingClient.forward_backward: _data,
    CustomLossClient.forward_backward_custom: _data,
    SamplingClient.sample: _sampled,
    SamplingClient.compute_logprobs: lambda named, most: _Tokens(read=_inputs(named["inputs"])),
    TopLogprobsClient.compute_top_logprobs: lambda named, most: _Tokens(read=_inputs(named["inputs"])),
    EmbeddingClient.embed_texts: lambda named, most: _Tokens(read=sum(len(it.encode()) for it in named["texts"])),
    LLMClient.chat: _chat,
    Completer.complete: _chat,
    Completer.complete_batch: _batch,
}
"""What a call may read and write, by its arguments."""


def _used(usages: Iterable[Any]) -> _Tokens:
    every = list(usages)
    return _Tokens(read=sum(u.prompt_tokens for u in every), written=sum(u.completion_tokens for u in every))


_TOLD: dict[Operation, Callable[[Any, int], _Tokens]] = {
    SamplingClient.sample: lambda groups, read: _Tokens(
        read=read, written=sum(len(sample.tokens) for group in groups for sample in group)
    ),
    LLMClient.chat: lambda answer, read: _used([answer.usage]),
    Completer.complete: lambda answer, read: _used([answer.usage]),
    Completer.complete_batch: lambda answers, read: _used(answer.usage for answer in answers),
}
"""What a call did read and write, by its answer."""
