"""Qwen3 and Qwen3-VL: ChatML with thinking, tools and images."""

import json
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.fields import checked
from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.images import qwen3_vl_chunk
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import CLOSE, OPEN, answer, json_call, split_calls, split_thought, thought_apart
from crucible.train.renderers.refusals import (
    calls_are_json,
    first,
    no_images,
    no_surrogates,
    no_thinking,
    only_assistants_think,
    system_comes_first,
)
from crucible.train.types import (
    ImagePart,
    Message,
    TextPart,
    ToolSpec,
    images_of,
    parts_of,
    text_of,
    thinking_of,
    tool_json,
)

Thinking: TypeAlias = Literal["chosen", "always", "off", "never"]

_START, _END = "<|im_start|>", "<|im_end|>"
_IMAGE_START, _IMAGE_END = "<|vision_start|>", "<|vision_end|>"
_ASKED, _ANSWERED = "<tool_call>", "</tool_call>"
_RESULT, _RESULT_END = "\n<tool_response>\n", "\n</tool_response>"
_WRAPPED = re.compile(r"<.?tool_response>.*<.?/tool_response>", re.DOTALL)
_NO_THOUGHT = f"{OPEN}\n\n{CLOSE}\n\n"
_TOOLS = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_END = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call>"
)


@attrs.frozen(kw_only=True, field_transformer=checked)
class Qwen3:
    """The form of Qwen3 and Qwen3-VL.

    Follows the chat templates of Qwen3-8B (`chosen`, and `off` for `enable_thinking=False`), Qwen3-4B-Thinking-2507 and
    Qwen3-VL-Thinking (`always`: the prompt opens the thought), Qwen3-4B-Instruct-2507 and Qwen3-VL-Instruct (`never`).
    Differs on purpose: the thought that a prompt opens is encoded apart from what follows, so that training sees the
    tokens that sampling gives; with `off` the empty thought belongs to the prompt and is not trained on; thinking that
    the form would lose is refused. A thought in its tags at the beginning of an assistant's text is its thinking, as there;
    every other tag in a text stays text, where the templates let some act.

    Args:
        thinking: whether the model chooses to think, always does, is kept from it, or cannot.
        keep_thinking: whether history keeps its thinking; the templates keep it only after the last question.
        images: whether user messages and tool results may hold images.
    """

    thinking: Thinking = "chosen"
    keep_thinking: bool = False
    images: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        return (_START, _END, *((_IMAGE_START, _IMAGE_END) if self.images else ()))

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
        return self.thinking == "never" or self.keep_thinking

    @property
    def reads_thoughts(self) -> bool:
        """Where the form has thinking, as datasets have it in texts."""
        return self.thinking in {"chosen", "always"}

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse thinking and images where there is no form for them, and images that cannot be read."""
        family = "qwen3_vl" if self.images else "qwen3"
        return first(
            no_surrogates(messages),
            only_assistants_think(messages),
            calls_are_json(messages),
            no_images(family, messages, except_in=("user", "tool") if self.images else ()),
            no_thinking(f"{family} without thinking", messages) if self.thinking in {"off", "never"} else None,
            system_comes_first(family, messages) if self.images else None,
            _thought_in_text(messages) if self.thinking == "off" else None,
            _unreadable_image(messages) if self.images else None,
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        messages = [thought_apart(each, strip="\n") if self.reads_thoughts else each for each in messages]
        spans = _system(messages, tools)
        asked = _last_question(messages)
        for index, message in enumerate(messages):
            if message.role == "assistant":
                last = index == len(messages) - 1
                thinks = index > asked and (last or bool(thinking_of(message)))
                spans += self._assistant(message, index, thinks=thinks or self.keep_thinking)
            elif message.role == "tool":
                spans += _result(messages, index)
            elif message.role == "user" or index > 0:
                spans += [Span(text=f"{_START}{message.role}\n"), *_content(message, index)]
                spans += [Span(text=_END, message=index), Span(text="\n")]
        return spans

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        return [*self.conversation(messages, tools), self._header(thinks=True)]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer: thinking, text and tool calls."""
        thinking, said, problem = "", text, None
        if self.thinking != "never":
            thought = split_thought(text, opened=self.thinking == "always")
            thinking, problem = thought.thinking.strip("\n"), thought.problem
            said = thought.text.lstrip("\n") if thought.text != text else text
        calls = split_calls(said, _ASKED, _ANSWERED, lambda call: json_call(call, arguments="arguments"), lead="\n")
        message = answer(thinking, calls.text, calls.calls)
        return ParsedResponse(message=message, ended=end is not None, problem=problem or calls.problem)

    def _header(self, *, thinks: bool) -> Span:
        opened = {"always": f"{OPEN}\n", "off": _NO_THOUGHT}.get(self.thinking, "") if thinks else ""
        return Span(text=f"{_START}assistant\n{opened}")

    def _assistant(self, message: Message, index: int, *, thinks: bool) -> list[Span]:
        thinking, text = thinking_of(message), text_of(message)
        if thinks and self.thinking in {"chosen", "always"}:
            opened = f"{OPEN}\n" if self.thinking == "chosen" else ""
            body = opened + thinking.strip("\n") + f"\n{CLOSE}\n\n" + text.lstrip("\n")
        else:
            body = text
        for number, call in enumerate(message.tool_calls):
            line = "\n" if text or number else ""
            body += f'{line}{_ASKED}\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n{_ANSWERED}'
        return [self._header(thinks=thinks), Span(text=body + _END, message=index), Span(text="\n")]


def _system(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
    has_system = messages[0].role == "system"
    if not tools and not has_system:
        return []
    text = text_of(messages[0]) if has_system else ""
    if tools:
        listed = "".join(f"\n{json.dumps(tool_json(tool), ensure_ascii=False)}" for tool in tools)
        text += ("\n\n" if has_system else "") + _TOOLS + listed + _TOOLS_END
    index = 0 if has_system else None
    return [Span(text=f"{_START}system\n"), Span(text=text + _END, message=index), Span(text="\n")]


def _last_question(messages: Sequence[Message]) -> int:
    """Give the index of the last message of a user that is no tool's result in its tags, quoted or not."""
    for index, message in reversed(list(enumerate(messages))):
        if message.role == "user" and not _WRAPPED.fullmatch(text_of(message)):
            return index
    return len(messages) - 1


def _result(messages: Sequence[Message], index: int) -> list[Span]:
    """Lay out a tool's result; those that follow each other share one turn."""
    begins = index == 0 or messages[index - 1].role != "tool"
    ends = index == len(messages) - 1 or messages[index + 1].role != "tool"
    spans = [Span(text=(f"{_START}user" if begins else "") + _RESULT), *_content(messages[index], index)]
    spans.append(Span(text=_RESULT_END + (_END if ends else ""), message=index))
    return [*spans, Span(text="\n")] if ends else spans


def _content(message: Message, index: int) -> list[Span]:
    spans: list[Span] = []
    for part in parts_of(message):
        chunk = qwen3_vl_chunk(part) if isinstance(part, ImagePart) else None
        if chunk is not None:
            spans += [Span(text=_IMAGE_START, message=index), Span(text="", message=index, image=chunk)]
            spans.append(Span(text=_IMAGE_END, message=index))
        elif isinstance(part, TextPart):
            spans.append(Span(text=part.text, message=index))
    return spans


def _unreadable_image(messages: Sequence[Message]) -> str | None:
    for index, message in enumerate(messages):
        for image in images_of(message):
            if qwen3_vl_chunk(image) is None:
                return f"message {index} has an image whose size cannot be read: no {image.format}, or far too long"
    return None


def _thought_in_text(messages: Sequence[Message]) -> str | None:
    for index, message in enumerate(messages):
        if message.role == "assistant" and CLOSE in text_of(message):
            return f"the text of message {index} has thinking in it, which this renderer keeps a model from"
    return None
