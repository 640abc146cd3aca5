"""Answers without a model: a function of the seed and the conversation."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from crucible.effects import Json
from crucible.kitchen.handlers.noop._bigram import TOKENIZER
from crucible.train.types import FinishReason, Message, TokenUsage, ToolCall, ToolSpec, text_of

Answer: TypeAlias = Callable[[Sequence[Message]], str]
"""What to say to a conversation."""

_OPENERS = ("You said", "I heard", "As you put it", "Let me repeat")


class Cut(NamedTuple):
    """A text within its limits."""

    text: str
    finish_reason: FinishReason
    usage: TokenUsage


def echo(messages: Sequence[Message], seed: int) -> str:
    """Repeat the last message, in words that depend on the seed and on the whole conversation.

    >>> echo([Message(role="user", content="Hello.")], 0)
    'As you put it: Hello.'
    """
    said = "\0".join(f"{message.role}\0{text_of(message)}" for message in messages)
    opener = random.Random(f"echo/{seed}/{said}").choice(_OPENERS)
    return f"{opener}: {text_of(messages[-1])}"


def cut(text: str, messages: Sequence[Message], *, max_tokens: int | None, stop: Sequence[str]) -> Cut:
    """End a text at the first stop text, or at its limit of tokens (a token is a byte).

    >>> cut("one two", [], max_tokens=None, stop=[" "])
    Cut(text='one', finish_reason='stop', usage=TokenUsage(prompt_tokens=0, completion_tokens=3))
    """
    ends = [text.find(end) for end in stop if end and end in text]
    data = text[: min(ends, default=len(text))].encode("utf-8", "replace")
    kept = data if max_tokens is None else data[:max_tokens]
    prompt = sum(len(TOKENIZER.encode(text_of(message))) for message in messages)
    usage = TokenUsage(prompt_tokens=prompt, completion_tokens=len(kept))
    return Cut(kept.decode("utf-8", "ignore"), "stop" if kept == data else "length", usage)


def tool_call(tools: Sequence[ToolSpec], choice: str) -> ToolCall | None:
    """Call the tool that must be called: the first one when any will do. None when none must, or it is not there."""
    wanted = [tool for tool in tools if choice in {"required", tool.name}]
    return ToolCall(name=wanted[0].name, arguments="{}", id="call-1") if wanted else None


def example_of(schema: Mapping[str, object]) -> Json:
    """Give a small value that fits a JSON Schema of types, enums, constants, required properties and lower bounds.

    >>> example_of({"type": "object", "properties": {"n": {"type": "integer", "minimum": 2}}, "required": ["n"]})
    {'n': 2}

    Raises: ValueError for a schema that says more than that.
    """
    odd = schema.keys() - _UNDERSTOOD
    if odd:
        raise ValueError(f"the noop model does not understand {', '.join(sorted(odd))} in a JSON Schema")
    if "const" in schema:
        return _json(schema["const"])
    for key in ("enum", "anyOf", "oneOf"):
        choices = schema.get(key)
        if isinstance(choices, Sequence) and choices:
            first = choices[0]
            return example_of(first) if key != "enum" and isinstance(first, Mapping) else _json(first)
    return _typed(schema)


def _typed(schema: Mapping[str, object]) -> Json:
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, Sequence) and not isinstance(kind, str) else kind
    if kind == "object":
        properties, required = schema.get("properties", {}), schema.get("required", ())
        if not isinstance(properties, Mapping) or not isinstance(required, Sequence):
            raise ValueError("properties must be an object and required a list")
        return {str(name): example_of(properties.get(name, {})) for name in required}
    if kind == "array":
        items, least = schema.get("items", {}), schema.get("minItems", 0)
        return [example_of(items if isinstance(items, Mapping) else {}) for _ in range(_whole(least))]
    if kind in {"integer", "number"}:
        return max(0, _whole(schema.get("minimum", 0)))
    if kind == "string":
        return "x" * _whole(schema.get("minLength", 0))
    return {"boolean": False, "null": None}[str(kind)]


def _whole(value: object) -> int:
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")  # noqa: TRY004  # one kind of error for a bad schema
    return -int(-value // 1)


def _json(value: object) -> Json:
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    raise ValueError(f"{value!r} is no JSON value")


_UNDERSTOOD = {
    *("type", "const", "enum", "anyOf", "oneOf", "properties", "required", "additionalProperties", "items"),
    *("minItems", "minimum", "minLength", "title", "description", "$schema"),
}
