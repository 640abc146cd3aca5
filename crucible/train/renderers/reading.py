"""Reading what a model wrote: its thinking, and tool calls as JSON. Total: any text can be read."""

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import attrs

from crucible.train.types import Message, Part, TextPart, ThinkingPart, ToolCall, assistant_message, plainest

OPEN, CLOSE = "<think>", "</think>"
THOUGHT = re.compile(rf"(\s*{OPEN})(.*?)({CLOSE})(.*)", re.DOTALL)
"""A text that begins with a thought in its tags."""
_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*"(\w+)"\s*:\s*(.*)\}\s*', re.DOTALL)


class Thought(NamedTuple):
    """A text split at the end of its thinking."""

    thinking: str
    text: str
    problem: str | None = None


def split_thought(text: str, *, opened: bool) -> Thought:
    r"""Split a text into what is thought and what is said.

    Args:
        text: as the model wrote it.
        opened: whether the prompt ended inside a thought already.

    >>> split_thought("<think>\\n2+2\\n</think>\\n\\n4", opened=False)
    Thought(thinking='\\n2+2\\n', text='\\n\\n4', problem=None)
    """
    start = text.lstrip()
    if start.startswith(OPEN):
        opened, text = True, start.removeprefix(OPEN)
    thinking, close, said = text.partition(CLOSE)
    if close:
        return Thought(thinking, said)
    if opened:
        return Thought(text, "", f"the thinking has no end: {CLOSE} is missing")
    return Thought("", text)


class Calls(NamedTuple):
    """A text split into what is said and the tools that are called in it."""

    text: str
    calls: tuple[ToolCall, ...]
    problem: str | None


def split_calls(text: str, begin: str, end: str, read: Callable[[str], ToolCall | None], *, lead: str = "") -> Calls:
    """Take the tool calls out of a text, where each stands between `begin` and `end`, with `lead` before it.

    A call that cannot be read stays in the text, and is the problem.
    """
    said: list[str] = []
    calls: list[ToolCall] = []
    problem: str | None = None
    position = 0
    while (start := text.find(begin, position)) >= 0:
        call, after = _first_call(text, start + len(begin), end, read)
        if call is None:
            problem = problem or f"a tool call cannot be read: {text[start : start + 80]!r}"
            said.append(text[position:after])
        else:
            said.append(text[position:start].removesuffix(lead))
            calls.append(call)
        position = after
    return Calls("".join([*said, text[position:]]), tuple(calls), problem)


def _first_call(text: str, start: int, end: str, read: Callable[[str], ToolCall | None]) -> tuple[ToolCall | None, int]:
    """Read the call that begins at `start`; its arguments may hold the end mark, so every end is tried."""
    stop = first_stop = text.find(end, start)
    tried = 0
    while stop >= 0 and tried < 8:
        call = read(text[start:stop])
        if call is not None:
            return call, stop + len(end)
        stop, tried = text.find(end, stop + 1), tried + 1
    return None, len(text) if first_stop < 0 else first_stop + len(end)


def json_call(text: str, *, arguments: str) -> ToolCall | None:
    """Read a call written as an object with `name` and, under the key `arguments`, an object; None when it is none.

    >>> json_call('{"name": "add", "arguments": {"a":1}}', arguments="arguments")
    ToolCall(name='add', arguments='{"a":1}', id=None)
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not isinstance(data.get(arguments), dict) or not data.get("name"):
        return None
    if not isinstance(data["name"], str):
        return None
    plain = _CALL.fullmatch(text) if len(data) == 2 else None
    written = plain.group(2).strip() if plain and plain.group(1) == arguments else None
    return ToolCall(name=data["name"], arguments=written or json.dumps(data[arguments], ensure_ascii=False))


def answer(thinking: str, said: str, calls: Sequence[ToolCall] = ()) -> Message:
    """Make the assistant's message that was read."""
    return assistant_message(said, thinking=thinking, tool_calls=calls)


def thought_apart(message: Message, *, strip: str = "") -> Message:
    """Give an assistant's message whose text begins with a thought in its tags, as datasets have it, with the thought as a part.

    >>> thought_apart(Message(role="assistant", content="<think>2+2</think>4")).content
    (ThinkingPart(text='2+2'), TextPart(text='4'))
    """
    joined = plainest(message)
    found = THOUGHT.fullmatch(joined.content) if isinstance(joined.content, str) else None
    if found is None or message.role != "assistant":
        return message
    thinking, said = found.group(2).strip(strip), found.group(4).lstrip(strip)
    parts: tuple[Part, ...] = (ThinkingPart(text=thinking), TextPart(text=said))
    return attrs.evolve(message, content=parts)
