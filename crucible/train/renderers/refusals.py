"""Reasons why a conversation cannot be written in a family's form, said before anything is written.

Each gives the first reason it finds, or None. A family lists those that apply: `first(no_tools(...), no_images(...))`.
"""

import json
import re
from collections.abc import Sequence

from crucible.train.types import Message, Role, ToolSpec, images_of, thinking_of

_NAME = re.compile(r"[\w.-]+")


def first(*refusals: str | None) -> str | None:
    """Give the first reason there is."""
    return next((refusal for refusal in refusals if refusal is not None), None)


def no_surrogates(messages: Sequence[Message]) -> str | None:
    """Refuse half a surrogate pair: no tokenizer has a token for it."""
    for index, message in enumerate(messages):
        texts = (
            [message.content] if isinstance(message.content, str) else [getattr(p, "text", "") for p in message.content]
        )
        texts += [call.arguments for call in message.tool_calls]
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            return f"the content of message {index} is no text: it has half a surrogate pair"
    return None


def no_tools(family: str, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
    """Refuse tools, tool calls and tool results."""
    if tools:
        return f"{family} has no form for tools"
    for index, message in enumerate(messages):
        if message.tool_calls or message.role == "tool":
            return f"{family} has no form for tool calls and results, and message {index} has one"
    return None


def no_images(family: str, messages: Sequence[Message], *, except_in: Sequence[Role] = ()) -> str | None:
    """Refuse images, but for those in messages of some roles."""
    for index, message in enumerate(messages):
        if images_of(message) and message.role not in except_in:
            return f"{family} has no form for images in {message.role} messages, and message {index} has one"
    return None


def no_thinking(family: str, messages: Sequence[Message]) -> str | None:
    """Refuse thinking, which would be lost."""
    for index, message in enumerate(messages):
        if thinking_of(message):
            return (
                f"{family} has no form for thinking, and message {index} has some: drop it, or choose another renderer"
            )
    return None


def only_assistants_think(messages: Sequence[Message]) -> str | None:
    """Refuse thinking and tool calls of others than the assistant."""
    for index, message in enumerate(messages):
        if message.role != "assistant" and (thinking_of(message) or message.tool_calls):
            return f"message {index} of role {message.role} has thinking or tool calls, which only an assistant has"
    return None


def system_comes_first(family: str, messages: Sequence[Message]) -> str | None:
    """Refuse a system message anywhere but at the start."""
    for index, message in enumerate(messages[1:], start=1):
        if message.role == "system":
            return f"{family} has its one system message at the start, and message {index} is another"
    return None


def calls_are_json(messages: Sequence[Message]) -> str | None:
    """Refuse a tool call whose arguments are not a JSON object, and one with an odd name."""
    for index, message in enumerate(messages):
        for call in message.tool_calls:
            if not _NAME.fullmatch(call.name):
                return f"message {index} calls a tool named {call.name!r}: letters, digits, - . and _ make a name"
            if not is_object(call.arguments):
                return f"message {index} calls {call.name} with arguments that are no JSON object"
    return None


def results_follow_calls(messages: Sequence[Message]) -> str | None:
    """Refuse a tool's result that does not follow an assistant's tool calls."""
    for index, message in enumerate(messages):
        if message.role == "tool":
            asked = next((each for each in reversed(messages[:index]) if each.role != "tool"), None)
            if asked is None or not asked.tool_calls:
                return f"message {index} is a tool's result, but does not follow a message that calls a tool"
    return None


def is_object(text: str) -> bool:
    """Tell whether a text is a JSON object.

    >>> is_object('{"a": 1}'), is_object("[1]"), is_object("{")
    (True, False, False)
    """
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
