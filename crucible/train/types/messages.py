"""Conversations: messages with text, images, thinking and tool calls, and the tools that a model may call."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@attrs.frozen(kw_only=True)
class ToolSpec:
    """A tool that a model may call; `parameters` is a JSON Schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ToolCall:
    """A model's wish to call a tool; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str
    id: str | None = None


@attrs.frozen(kw_only=True)
class TextPart:
    """Text for the reader."""

    text: str


@attrs.frozen(kw_only=True)
class ThinkingPart:
    """What a model says to itself before it answers."""

    text: str


@attrs.frozen(kw_only=True)
class ImagePart:
    """An encoded image; how many positions it takes in the context, the renderer of the model says."""

    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    format: Literal["png", "jpeg"]


Part: TypeAlias = TextPart | ThinkingPart | ImagePart


def _frozen_content(content: str | Sequence[Part]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(content)


@attrs.frozen(kw_only=True)
class Message:
    """One turn of a conversation: its content is text, or parts in order.

    A tool's result is a message of role `tool`: `tool_call_id` names the call that it answers, `name` the tool.
    `trainable` chooses turns by hand when training on `customized`.

    >>> text_of(Message(role="user", content=(TextPart(text="What is "), TextPart(text="this?"))))
    'What is this?'
    """

    role: Role = attrs.field(validator=attrs.validators.in_(ROLES))
    content: str | tuple[Part, ...] = attrs.field(converter=_frozen_content)
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    trainable: bool | None = None


@attrs.frozen(kw_only=True)
class ToolResult:
    """What a tool said to a call; `is_error` where it could not do what it was asked."""

    call: ToolCall
    content: str
    is_error: bool = False

    def message(self) -> Message:
        """Write it as the message that the model reads.

        >>> ToolResult(
        ...     call=ToolCall(name="add", arguments="[]", id="1"), content="no numbers", is_error=True
        ... ).message().content
        'error: no numbers'
        """
        content = f"error: {self.content}" if self.is_error else self.content
        return Message(role="tool", content=content, tool_call_id=self.call.id, name=self.call.name)


def parts_of(message: Message) -> tuple[Part, ...]:
    """Give the content as parts; empty text is no part.

    >>> parts_of(Message(role="user", content="Hi"))
    (TextPart(text='Hi'),)
    """
    content = message.content
    if isinstance(content, str):
        return (TextPart(text=content),) if content else ()
    return content


def text_of(message: Message) -> str:
    """Give the text for the reader, without thinking and images."""
    return "".join(part.text for part in parts_of(message) if isinstance(part, TextPart))


def thinking_of(message: Message) -> str:
    """Give the thinking; empty where there is none.

    >>> thinking_of(assistant_message("4", thinking="2 + 2"))
    '2 + 2'
    """
    return "".join(part.text for part in parts_of(message) if isinstance(part, ThinkingPart))


def images_of(message: Message) -> tuple[ImagePart, ...]:
    """Give the images, in order."""
    return tuple(part for part in parts_of(message) if isinstance(part, ImagePart))


def assistant_message(text: str, *, thinking: str = "", tool_calls: Sequence[ToolCall] = ()) -> Message:
    """Make an assistant's message in its plainest form: text alone is text, thinking comes first as a part.

    >>> assistant_message("4").content, assistant_message("", thinking="Hm.").content
    ('4', (ThinkingPart(text='Hm.'),))
    """
    if not thinking:
        return Message(role="assistant", content=text, tool_calls=tuple(tool_calls))
    parts: tuple[Part, ...] = (ThinkingPart(text=thinking), *((TextPart(text=text),) if text else ()))
    return Message(role="assistant", content=parts, tool_calls=tuple(tool_calls))


def plainest(message: Message) -> Message:
    """Give the message with its text joined, and its thinking joined before it; a message with images stays.

    >>> plainest(Message(role="user", content=(TextPart(text="a"), TextPart(text="b")))).content
    'ab'
    """
    if isinstance(message.content, str) or images_of(message):
        return message
    content = assistant_message(text_of(message), thinking=thinking_of(message)).content
    return attrs.evolve(message, content=content)
