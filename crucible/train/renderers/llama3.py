"""Llama 3, 3.1, 3.2 and 3.3."""

import json
from collections.abc import Sequence
from datetime import date

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import answer, json_call
from crucible.train.renderers.refusals import (
    calls_are_json,
    first,
    no_images,
    no_surrogates,
    no_thinking,
    no_tools,
    only_assistants_think,
    results_follow_calls,
)
from crucible.train.types import Message, ToolSpec, text_of, tool_json

BEGIN, _END = "<|begin_of_text|>", "<|eot_id|>"
_START_HEADER, _END_HEADER = "<|start_header_id|>", "<|end_header_id|>"
_RELEASED = date(2024, 7, 26)
_ASKED = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    'answers the given prompt.\n\nRespond in the format {"name": function name, "parameters": dictionary of argument '
    "name and its value}.Do not use variables.\n\n"
)


@attrs.frozen(kw_only=True)
class Llama3:
    """The form of Meta-Llama-3-Instruct; with `preamble`, that of Llama 3.1, 3.2 and 3.3.

    Follows the chat template of Meta-Llama-3-8B-Instruct and, with `preamble`, those of Llama-3.1-8B-Instruct and
    Llama-3.2-3B-Instruct (custom tools in the first user message, one call a message). Differs on purpose: today's date
    is an argument, never read from a clock; without it stands the date that the 3.1 template falls back on. Text beside
    a tool call, which the template drops silently, is refused. Llama 3.1's built-in tools are left out.
    """

    preamble: bool = False
    today: date | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        return (BEGIN, _START_HEADER, _END_HEADER, _END)

    @property
    def end_marks(self) -> tuple[str, ...]:
        """The end of a turn."""
        return (_END,)

    @property
    def end_strings(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def extends(self) -> bool:
        """Nothing is taken out of history."""
        return True

    @property
    def reads_thoughts(self) -> bool:
        """Never: a thought is a part of its own here."""
        return False

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse thinking and images; tools too in Llama 3, which has no form for them."""
        family = "llama3_1" if self.preamble else "llama3"
        return first(
            no_surrogates(messages),
            no_images(family, messages),
            no_thinking(family, messages),
            _refused_tools(messages, tools) if self.preamble else no_tools(family, messages, tools),
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        spans = [Span(text=BEGIN)]
        system = next(iter(messages)).role == "system"
        if self.preamble:
            content = text_of(messages[0]).strip() if system else ""
            text = f"{self._preamble(tools)}{content}{_END}"
            spans += [_header("system"), Span(text=text, message=0 if system else None)]
        for index, message in enumerate(messages):
            if self.preamble and system and index == 0:
                continue
            asked = _asked(tools) if self.preamble and index == int(system) else ""
            spans.append(_header("ipython" if message.role == "tool" else message.role))
            spans.append(Span(text=asked + _content(message) + _END, message=index))
        return spans

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        return [*self.conversation(messages, tools), _header("assistant")]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer; in Llama 3.1, one that is nothing but a call is a tool call."""
        call = json_call(text, arguments="parameters") if self.preamble else None
        message = answer("", text) if call is None else answer("", "", [call])
        return ParsedResponse(message=message, ended=end is not None)

    def _preamble(self, tools: Sequence[ToolSpec]) -> str:
        environment = "Environment: ipython\n" if tools else ""
        today = (self.today or _RELEASED).strftime("%d %b %Y")
        return f"{environment}Cutting Knowledge Date: December 2023\nToday Date: {today}\n\n"


def _refused_tools(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
    begin = 1 if messages[0].role == "system" else 0
    if tools and [message.role for message in messages[begin : begin + 1]] != ["user"]:
        return "llama3_1 writes tools in the first user message, and the conversation does not begin with one"
    for index, message in enumerate(messages):
        if len(message.tool_calls) > 1 or (message.tool_calls and text_of(message)):
            return f"llama3_1 writes one tool call and nothing else in a message, and message {index} has more"
    return first(
        only_assistants_think(messages),
        calls_are_json(messages),
        results_follow_calls(messages),
    )


def _header(role: str) -> Span:
    return Span(text=f"{_START_HEADER}{role}{_END_HEADER}\n\n")


def _asked(tools: Sequence[ToolSpec]) -> str:
    written = "".join(json.dumps(tool_json(tool), ensure_ascii=False, indent=4) + "\n\n" for tool in tools)
    return _ASKED + written if tools else ""


def _content(message: Message) -> str:
    if message.tool_calls:
        call = message.tool_calls[0]
        return f'{{"name": "{call.name}", "parameters": {call.arguments}}}'
    if message.role == "tool":
        return json.dumps(text_of(message), ensure_ascii=False)
    return text_of(message).strip()
