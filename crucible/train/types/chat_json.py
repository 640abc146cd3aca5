"""Messages and tools as the JSON that chat APIs, chat templates and datasets write."""

import json
from collections.abc import Mapping, Sequence

from crucible.effects import Failure, Json, Result, Success
from crucible.train.types.messages import (
    ROLES,
    ImagePart,
    Message,
    Part,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolSpec,
    images_of,
    parts_of,
    text_of,
    thinking_of,
)


def message_json(message: Message) -> dict[str, Json]:
    """Write a message; thinking is `reasoning_content`, an image the bare mark that templates look for.

    >>> message_json(Message(role="user", content="Hi"))
    {'role': 'user', 'content': 'Hi'}
    """
    written: dict[str, Json] = {"role": message.role, "content": _content_json(message)}
    thinking = thinking_of(message)
    optional = {"reasoning_content": thinking, "tool_call_id": message.tool_call_id, "name": message.name}
    written |= {key: value for key, value in optional.items() if value}
    if message.tool_calls:
        written["tool_calls"] = [_call_json(call) for call in message.tool_calls]
    return written


def tool_json(tool: ToolSpec) -> dict[str, object]:
    """Write a tool.

    >>> tool_json(ToolSpec(name="now"))
    {'type': 'function', 'function': {'name': 'now', 'description': '', 'parameters': {}}}
    """
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def message_of(data: Mapping[str, object]) -> Result[Message, str]:
    """Read a message: `role`, `content` (text, null or a list of parts), `reasoning_content` and `tool_calls`.

    >>> message_of({"role": "user", "content": [{"type": "text", "text": "Hi"}]}).unwrap().content
    (TextPart(text='Hi'),)

    Fails: what is wrong, in words. An image is only read from bytes: `{"type": "image", "data": ..., "format": "png"}`.
    """
    role = data.get("role")
    if role not in ROLES:
        return Failure(f"the role must be one of {', '.join(ROLES)}, not {role!r}")
    content = _content_of(data.get("content"))
    calls = _calls_of(data.get("tool_calls"))
    if content is None or calls is None or (data.get("content") is None and not calls):
        wrong = "`tool_calls` must be a list of {id, function: {name, arguments}}" if calls is None else ""
        return Failure(wrong or "`content` must be text or a list of parts {type, text}")
    trainable = data.get("trainable")
    if trainable is not None and not isinstance(trainable, bool):
        return Failure("`trainable` must be true or false")
    thinking = data.get("reasoning_content") or data.get("thinking")
    if isinstance(thinking, str):
        parts = (TextPart(text=content),) if isinstance(content, str) else content
        content = (ThinkingPart(text=thinking), *(part for part in parts if part != TextPart(text="")))
    return Success(
        Message(
            role=next(known for known in ROLES if known == role),
            content=content,
            tool_calls=calls,
            tool_call_id=_text_or_none(data.get("tool_call_id")),
            name=_text_or_none(data.get("name")),
            trainable=trainable,
        )
    )


def _content_json(message: Message) -> Json:
    if not images_of(message):
        return text_of(message)
    return [
        {"type": "image"} if isinstance(part, ImagePart) else {"type": "text", "text": part.text}
        for part in parts_of(message)
        if not isinstance(part, ThinkingPart)
    ]


def _call_json(call: ToolCall) -> Json:
    """Write a call; its arguments become an object where they are one, as templates expect."""
    try:
        arguments: Json = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    written: dict[str, Json] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return written if call.id is None else {"id": call.id, **written}


def _content_of(value: object) -> str | tuple[Part, ...] | None:
    if value is None or isinstance(value, str):
        return value or ""
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        return None
    parts = [_part_of(item) for item in value]
    return tuple(part for part in parts if part is not None) if None not in parts else None


def _part_of(item: object) -> Part | None:
    if not isinstance(item, Mapping):
        return None
    text, data = item.get("text", item.get("thinking")), item.get("data")
    match item.get("type"):
        case "text" if isinstance(text, str):
            return TextPart(text=text)
        case "thinking" if isinstance(text, str):
            return ThinkingPart(text=text)
        case "image" if isinstance(data, bytes) and item.get("format") in {"png", "jpeg"}:
            return ImagePart(data=data, format="png" if item.get("format") == "png" else "jpeg")
        case _:
            return None


def _calls_of(value: object) -> tuple[ToolCall, ...] | None:
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    calls = [_call_of(item) for item in value]
    return tuple(call for call in calls if call is not None) if None not in calls else None


def _call_of(item: object) -> ToolCall | None:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(function, Mapping):
        return None
    name, arguments = function.get("name"), function.get("arguments", "{}")
    if not isinstance(name, str):
        return None
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(name=name, arguments=written, id=_text_or_none(item.get("id")))


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
