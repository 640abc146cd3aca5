"""DeepSeek-V3.1."""

import json
from collections.abc import Sequence

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import CLOSE, OPEN, answer, split_calls, split_thought, thought_apart
from crucible.train.renderers.refusals import (
    calls_are_json,
    first,
    is_object,
    no_images,
    no_surrogates,
    no_thinking,
    only_assistants_think,
    results_follow_calls,
    system_comes_first,
)
from crucible.train.types import Message, ToolCall, ToolSpec, text_of, thinking_of


def _mark(name: str) -> str:
    """Write a special token, whose bars are fullwidth and whose blanks are U+2581."""
    return f"<\uff5c{name.replace(' ', chr(0x2581))}\uff5c>"


BEGIN, _END = _mark("begin of sentence"), _mark("end of sentence")
_USER, _ASSISTANT = _mark("User"), _mark("Assistant")
_CALLS, _CALLS_END = _mark("tool calls begin"), _mark("tool calls end")
_CALL, _CALL_END, _SEPARATOR = _mark("tool call begin"), _mark("tool call end"), _mark("tool sep")
_RESULT, _RESULT_END = _mark("tool output begin"), _mark("tool output end")
_TOOLS = "## Tools\nYou have access to the following tools:\n"
_FORMAT = f"""
IMPORTANT: ALWAYS adhere to this exact format for tool use:
{_CALLS}{_CALL}tool_call_name{_SEPARATOR}tool_call_arguments{_CALL_END}{{additional_tool_calls}}{_CALLS_END}

Where:
- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces"""


@attrs.frozen(kw_only=True)
class DeepSeekV3:
    """The form of DeepSeek-V3.1, thinking or not.

    Follows the chat template of DeepSeek-V3.1, and its model card for the tools, which the template does not write.
    Differs on purpose: the last answer keeps its thinking, which the template always drops, so that it can be trained
    on; one system message at the start is taken, where the template moves all of them there. DeepSeek-V3 and R1 have
    another form for tools and prompts: not this one.

    Args:
        thinking: whether the prompt opens a thought, or closes an empty one.
        keep_thinking: whether history keeps its thinking; the template drops it.
    """

    thinking: bool = False
    keep_thinking: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        return (BEGIN, _USER, _ASSISTANT, _END)

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
        """Only where history keeps what the model thought."""
        return not self.thinking or self.keep_thinking

    @property
    def reads_thoughts(self) -> bool:
        """Always, as datasets have it in texts."""
        return True

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse images, and thinking where it is off."""
        family = "deepseekv3"
        return first(
            no_surrogates(messages),
            no_images(family, messages),
            None if self.thinking else no_thinking("deepseekv3 without thinking", messages),
            only_assistants_think(messages),
            calls_are_json(messages),
            results_follow_calls(messages),
            system_comes_first(family, messages),
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        messages = [thought_apart(message) for message in messages]
        spans = [Span(text=BEGIN), *_system(messages, tools)]
        for index, message in enumerate(messages):
            if message.role == "user":
                spans += [Span(text=_USER), Span(text=text_of(message), message=index)]
            elif message.role == "tool":
                spans += [Span(text=_RESULT), Span(text=text_of(message) + _RESULT_END, message=index)]
            elif message.role == "assistant":
                thinks = self.thinking and (self.keep_thinking or index == len(messages) - 1)
                spans += [_header(messages[:index], thinks=thinks)]
                spans.append(Span(text=_body(message, messages[:index], thinks=thinks) + _END, message=index))
        return spans

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        return [*self.conversation(messages, tools), _header(messages, thinks=self.thinking)]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer: thinking, text and tool calls."""
        opened = self.thinking and CLOSE in text
        thought = split_thought(text, opened=opened)
        begin = thought.text.find(_CALLS)
        said, called = (thought.text, "") if begin < 0 else (thought.text[:begin], thought.text[begin:])
        inner = called.removeprefix(_CALLS)
        closed, mark, after = inner.rpartition(_CALLS_END)
        calls = split_calls(closed if mark else inner, _CALL, _CALL_END, _call)
        broken = called and (not mark or calls.text.strip() or not calls.calls)
        problem = calls.problem or ("the tool calls have no end, or other text in them" if broken else None)
        if problem is not None:
            said, after = said + called, ""
        return ParsedResponse(
            message=answer(thought.thinking, said + after, () if problem else calls.calls),
            ended=end is not None,
            problem=thought.problem or problem,
        )


def _system(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
    has_system = messages[0].role == "system"
    text = text_of(messages[0]) if has_system else ""
    if tools:
        listed = "".join(
            f"\n### {tool.name}\nDescription: {tool.description}\n\nParameters: {json.dumps(dict(tool.parameters))}\n"
            for tool in tools
        )
        text += "\n\n" + _TOOLS + listed + _FORMAT
    return [Span(text=text, message=0 if has_system else None)]


def _header(before: Sequence[Message], *, thinks: bool) -> Span:
    """Give what comes before an answer: nothing after a tool's result, which the answer follows directly."""
    if before and before[-1].role == "tool":
        return Span(text="")
    return Span(text=_ASSISTANT + (OPEN if thinks else CLOSE))


def _body(message: Message, before: Sequence[Message], *, thinks: bool) -> str:
    thinking, text = thinking_of(message), text_of(message)
    follows_tool = bool(before) and before[-1].role == "tool"
    if thinks and follows_tool:
        text = f"{OPEN}{thinking}{CLOSE}{text}" if thinking else text
    elif thinks:
        text = f"{thinking}{CLOSE}{text}"
    if message.tool_calls:
        calls = "".join(f"{_CALL}{call.name}{_SEPARATOR}{call.arguments}{_CALL_END}" for call in message.tool_calls)
        text += f"{_CALLS}{calls}{_CALLS_END}"
    return text


def _call(text: str) -> ToolCall | None:
    name, separator, arguments = text.partition(_SEPARATOR)
    if not separator or not name.strip() or not is_object(arguments):
        return None
    return ToolCall(name=name.strip(), arguments=arguments.strip())
