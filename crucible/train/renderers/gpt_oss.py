"""gpt-oss, in OpenAI's harmony format."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Literal, NamedTuple, TypeAlias

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import answer
from crucible.train.renderers.refusals import (
    calls_are_json,
    first,
    is_object,
    no_images,
    no_surrogates,
    only_assistants_think,
    results_follow_calls,
    system_comes_first,
)
from crucible.train.renderers.typescript import tool_namespace
from crucible.train.types import Message, ToolCall, ToolSpec, text_of, thinking_of

Effort: TypeAlias = Literal["low", "medium", "high"]

_START, _MESSAGE, _END = "<|start|>", "<|message|>", "<|end|>"
_CHANNEL, _CONSTRAIN, _CALL, _RETURN = "<|channel|>", "<|constrain|>", "<|call|>", "<|return|>"
_ANALYSIS, _COMMENTARY, _FINAL = (f"{_CHANNEL}{name}{_MESSAGE}" for name in ("analysis", "commentary", "final"))
_ASSISTANT = f"{_START}assistant"
_CHANNEL_NAME, _RECIPIENT = re.compile(r"<\|channel\|>(\w+)"), re.compile(r"to=([^\s<]+)")


@attrs.frozen(kw_only=True)
class GptOss:
    """The form of gpt-oss-20b and gpt-oss-120b.

    Follows openai-harmony 0.0.8, and the models' chat template in what history keeps: thinking before a tool call until
    the answer that ends its turn. Differs on purpose from the chat template: the developer's instructions end without
    blank lines and a tool's result is written as it is, both as in harmony; text beside a tool call is a preamble of the
    commentary channel; thinking before the tool calls of the last answer stays in an example, because it stood in the
    prompt that this answer was sampled from; today's date is an argument, never read from a clock.

    Args:
        effort: how much to reason; None writes no system prompt at all.
        today: the date in the system prompt; None writes no date.
    """

    effort: Effort | None = "medium"
    today: date | None = None

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        return (_START, _MESSAGE, _END, _CHANNEL, _CONSTRAIN, _CALL, _RETURN)

    @property
    def end_marks(self) -> tuple[str, ...]:
        """The end of a conversation, and that of a tool call."""
        return (_RETURN, _CALL)

    @property
    def end_strings(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def extends(self) -> bool:
        """History loses its thinking, and the mark that ended it is another."""
        return False

    @property
    def reads_thoughts(self) -> bool:
        """Never: a thought is a part of its own here."""
        return False

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse images, several calls in one message, and a tool's result whose tool is not known."""
        several = next((i for i, each in enumerate(messages) if len(each.tool_calls) > 1), None)
        nameless = next((i for i, each in enumerate(messages) if each.role == "tool" and not _tool(messages, i)), None)
        return first(
            no_surrogates(messages),
            no_images("gpt_oss", messages),
            only_assistants_think(messages),
            calls_are_json(messages),
            results_follow_calls(messages),
            system_comes_first("gpt_oss", messages),
            None if several is None else f"gpt_oss calls one tool in a message, and message {several} calls more",
            None if nameless is None else f"message {nameless} is a tool's result, but does not name its tool or call",
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        return self._spans(messages, tools, ends=True)

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        return [*self._spans(messages, tools, ends=False), Span(text=_ASSISTANT)]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer: the analysis is thinking, the final channel and preambles are text."""
        thinking, said, calls, problem = "", "", list[ToolCall](), None
        for block in filter(None, text.split(_START)):
            read = _read_block(block)
            thinking += read.thinking
            said += read.said
            calls += read.calls
            problem = problem or read.problem
        if problem is None and end == _CALL and not calls:
            problem = "the answer ends as a tool call, but calls no tool"
        return ParsedResponse(message=answer(thinking, said, calls), ended=end in self.end_marks, problem=problem)

    def _spans(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, ends: bool) -> list[Span]:
        spans = [Span(text=self._system(tools))]
        has_system = messages[0].role == "system"
        instructions = [f"# Instructions\n\n{text_of(messages[0])}"] if has_system and text_of(messages[0]) else []
        sections = instructions + ([f"# Tools\n\n{tool_namespace(tools)}"] if tools else [])
        if sections:
            developer = "\n\n".join(sections) + _END
            spans += [
                Span(text=f"{_START}developer{_MESSAGE}"),
                Span(text=developer, message=0 if has_system else None),
            ]
        history = messages[:-1] if ends else messages
        answered = max((i for i, each in enumerate(history) if _is_answer(each)), default=-1)
        for index, message in enumerate(messages):
            last = ends and index == len(messages) - 1
            if message.role == "assistant":
                thinks = last or (bool(message.tool_calls) and index > answered)
                spans += [Span(text=_ASSISTANT), Span(text=_answer(message, thinks, last), message=index)]
            elif message.role == "tool":
                head = f"{_START}functions.{_tool(messages, index)} to=assistant{_CHANNEL}commentary{_MESSAGE}"
                spans += [Span(text=head), Span(text=text_of(message) + _END, message=index)]
            elif message.role == "user":
                spans += [Span(text=f"{_START}user{_MESSAGE}"), Span(text=text_of(message) + _END, message=index)]
        return spans

    def _system(self, tools: Sequence[ToolSpec]) -> str:
        if self.effort is None:
            return ""
        today = f"\nCurrent date: {self.today.isoformat()}" if self.today else ""
        calls = "\nCalls to these tools must go to the commentary channel: 'functions'." if tools else ""
        return (
            f"{_START}system{_MESSAGE}You are ChatGPT, a large language model trained by OpenAI.\n"
            f"Knowledge cutoff: 2024-06{today}\n\nReasoning: {self.effort}\n\n# Valid channels: analysis, commentary, "
            f"final. Channel must be included for every message.{calls}{_END}"
        )


class _Block(NamedTuple):
    thinking: str = ""
    said: str = ""
    calls: tuple[ToolCall, ...] = ()
    problem: str | None = None


def _is_answer(message: Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


def _answer(message: Message, thinks: bool, last: bool) -> str:  # noqa: FBT001  # two facts about the place of a message
    """Write an answer after the assistant's name, in as many blocks as it takes."""
    thinking, text = thinking_of(message), text_of(message)
    written = f"{_ANALYSIS}{thinking}{_END}{_ASSISTANT}" if thinking and thinks else ""
    if not message.tool_calls:
        return f"{written}{_FINAL}{text}{_RETURN if last else _END}"
    call = message.tool_calls[0]
    preamble = f"{_COMMENTARY}{text}{_END}{_ASSISTANT}" if text else ""
    to = f" to=functions.{call.name}{_CHANNEL}commentary {_CONSTRAIN}json{_MESSAGE}{call.arguments}{_CALL}"
    return written + preamble + to


def _tool(messages: Sequence[Message], index: int) -> str:
    """Name the tool whose result a message is: it says so, or the call does that it answers; empty when neither."""
    message = messages[index]
    calls = [call for each in messages[:index] for call in each.tool_calls]
    named = [call.name for call in calls if message.tool_call_id is not None and call.id == message.tool_call_id]
    return (message.name or (named[-1] if named else "")).removeprefix("functions.")


def _read_block(block: str) -> _Block:
    """Read one block: its head says the channel and whom it is for."""
    head, mark, body = block.partition(_MESSAGE)
    body, _, after = body.partition(_END)
    channel, recipient = _CHANNEL_NAME.search(head), _RECIPIENT.search(head)
    if not mark or channel is None or after:
        return _Block(said=block, problem=f"a block without channel, or text outside of one: {block[:80]!r}")
    if recipient is not None:
        name = recipient.group(1).removeprefix("functions.")
        if name == recipient.group(1) or not is_object(body):
            return _Block(said=block, problem=f"a call to {recipient.group(1)} that cannot be read: {body[:80]!r}")
        return _Block(calls=(ToolCall(name=name, arguments=body),))
    if channel.group(1) == "analysis":
        return _Block(thinking=body)
    known = channel.group(1) in {"final", "commentary"}
    return _Block(said=body, problem=None if known else f"an unknown channel: {channel.group(1)!r}")
