"""Conversations: messages, tools and what a chat model answers."""

from collections.abc import Mapping
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
class Message:
    """One turn of a conversation. `trainable` chooses turns by hand when training on `customized`."""

    role: Role = attrs.field(validator=attrs.validators.in_(ROLES))
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    trainable: bool | None = None
