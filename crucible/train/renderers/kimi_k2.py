"""Kimi K2: Instruct and Thinking."""

import json
from collections.abc import Sequence

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import CLOSE, OPEN, answer, split_calls, split_thought
from crucible.train.renderers.refusals import (
    calls_are_json,
    first,
    is_object,
    no_images,
    no_surrogates,
    no_thinking,
    only_assistants_think,
    results_follow_calls,
)
from crucible.train.types import Message, ToolCall, ToolSpec, text_of, thinking_of, tool_json

_MIDDLE, _END = "<|im_middle|>", "<|im_end|>"
_ROLES = {"system": "<|im_system|>", "user": "<|im_user|>", "assistant": "<|im_assistant|>", "tool": "<|im_system|>"}
_CALLS, _CALLS_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
_CALL, _ARGUMENTS, _CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_SYSTEM = "You are Kimi, an AI assistant created by Moonshot AI."


@attrs.frozen(kw_only=True)
class KimiK2:
    """The form of Kimi-K2-Thinking, or without `thinking` that of Kimi-K2-Instruct.

    Follows the chat templates of these models, tools sorted and written without blanks as their tokenizer does. A
    conversation without a system message gets Kimi's own. Differs on purpose: the last answer keeps its thinking, which
    the Thinking template drops from an answer without tool calls, so that it can be trained on; a tool call without an
    id gets the one that the model would write, `functions.name:0`.

    Args:
        thinking: whether answers begin with a thought, if only an empty one.
        keep_thinking: whether history keeps its thinking; the template keeps it only since the last answer.
    """

    thinking: bool = True
    keep_thinking: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        calls = (_CALLS, _CALLS_END, _CALL, _ARGUMENTS, _CALL_END)
        return (*sorted(set(_ROLES.values())), _MIDDLE, _END, *calls)

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
        """Never: a thought is a part of its own here."""
        return False

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse images, a tool's result that does not name its call, and thinking where it is off."""
        nameless = next((i for i, each in enumerate(messages) if each.role == "tool" and not each.tool_call_id), None)
        return first(
            no_surrogates(messages),
            no_images("kimi_k2", messages),
            None if self.thinking else no_thinking("kimi_k2_instruct", messages),
            only_assistants_think(messages),
            calls_are_json(messages),
            results_follow_calls(messages),
            None
            if nameless is None
            else f"kimi_k2 needs the `tool_call_id` of the tool's result in message {nameless}",
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        spans = [Span(text=_declared(tools))] if tools else []
        if messages[0].role != "system":
            line = "" if self.thinking else "\n"
            spans.append(Span(text=f"{_ROLES['system']}system{_MIDDLE}{_SYSTEM}{_END}{line}"))
        thought_from = _thought_from(messages)
        for index, message in enumerate(messages):
            spans.append(_header(message, messages[:index]))
            if message.role == "assistant":
                body = self._answer(message, thinks=self.keep_thinking or index >= thought_from)
            else:
                body = text_of(message)
            spans.append(Span(text=body + _END, message=index))
        return spans

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        return [*self.conversation(messages, tools), Span(text=f"{_ROLES['assistant']}assistant{_MIDDLE}")]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer: thinking, text and tool calls."""
        thought = split_thought(text, opened=False) if self.thinking else None
        whole = text if thought is None else thought.text
        said, begin, called = whole.partition(_CALLS)
        closed, mark, after = called.rpartition(_CALLS_END)
        calls = split_calls(closed if mark else called, _CALL, _CALL_END, _call)
        broken = begin and (not mark or calls.text.strip() or not calls.calls)
        problem = calls.problem or ("the tool calls have no end, or other text in them" if broken else None)
        content = whole if problem else said + after
        return ParsedResponse(
            message=answer(thought.thinking if thought else "", content, () if problem else calls.calls),
            ended=end is not None,
            problem=(thought.problem if thought else None) or problem,
        )

    def _answer(self, message: Message, *, thinks: bool) -> str:
        thinking = thinking_of(message) if thinks else ""
        thought = f"{OPEN}{thinking}{CLOSE}" if self.thinking else ""
        calls = "".join(
            f"{_CALL}{call_id(call, number)}{_ARGUMENTS}{call.arguments}{_CALL_END}"
            for number, call in enumerate(message.tool_calls)
        )
        return thought + text_of(message) + (f"{_CALLS}{calls}{_CALLS_END}" if calls else "")


def call_id(call: ToolCall, number: int) -> str:
    """Give the id of a call, or the one that Kimi would give it.

    >>> call_id(ToolCall(name="add", arguments="{}"), 0)
    'functions.add:0'
    """
    return call.id or f"functions.{call.name}:{number}"


def _thought_from(messages: Sequence[Message]) -> int:
    """Give the index from which on thinking is kept: after the last answer, the one at the very end left out."""
    answers = [i for i, each in enumerate(messages[:-1]) if each.role == "assistant" and not each.tool_calls]
    return max(answers, default=-1) + 1


def _header(message: Message, before: Sequence[Message]) -> Span:
    name = message.name or message.role
    if message.role != "tool":
        return Span(text=f"{_ROLES[message.role]}{name}{_MIDDLE}")
    calls = [call for each in before for call in each.tool_calls if call.id == message.tool_call_id]
    name = message.name or (calls[-1].name if calls else "tool")
    return Span(text=f"{_ROLES['tool']}{name}{_MIDDLE}## Return of {message.tool_call_id}\n")


def _declared(tools: Sequence[ToolSpec]) -> str:
    written = json.dumps([tool_json(tool) for tool in tools], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f"{_ROLES['system']}tool_declare{_MIDDLE}{written}{_END}"


def _call(text: str) -> ToolCall | None:
    """Read `functions.name:0`, the mark, and arguments."""
    written, mark, arguments = text.partition(_ARGUMENTS)
    identity = written.strip()
    name = identity.rpartition(":")[0].partition(".")[2]
    if not mark or not name or not is_object(arguments):
        return None
    return ToolCall(name=name, arguments=arguments.strip(), id=identity)
