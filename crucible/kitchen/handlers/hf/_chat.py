"""Conversations as OpenAI-compatible servers write them."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from crucible.kitchen.handlers.hf._errors import Refused, missing_extra
from crucible.train.errors import BackendFailed, InvalidRequest, Unavailable
from crucible.train.types import (
    ChatOptions,
    ChatResponse,
    FinishReason,
    ImagePart,
    Message,
    TextPart,
    TokenUsage,
    ToolCall,
    assistant_message,
    images_of,
    parts_of,
    text_of,
    tool_json,
)

if TYPE_CHECKING:
    from huggingface_hub import ChatCompletionOutput, ChatCompletionStreamOutput

_REASONS: Mapping[str | None, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def written(message: Message) -> dict[str, object]:
    """Write a message. What a model said to itself is left out: servers take it as the past's, or refuse it.

    >>> written(Message(role="assistant", content="", tool_calls=(ToolCall(name="now", arguments="{}"),)))
    {'role': 'assistant', 'content': '', 'tool_calls': [{'id': 'call-0', 'type': 'function', 'function': {...}}]}
    """
    said: dict[str, object] = {"role": message.role, "content": _content(message)}
    said |= {key: value for key in ("tool_call_id", "name") if (value := getattr(message, key)) is not None}
    if message.tool_calls:
        said["tool_calls"] = [
            {
                "id": call.id or f"call-{place}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for place, call in enumerate(message.tool_calls)
        ]
    return said


def _content(message: Message) -> str | list[dict[str, object]]:
    if not images_of(message):
        return text_of(message)
    content: list[dict[str, object]] = []
    for part in parts_of(message):
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        elif isinstance(part, ImagePart):
            url = f"data:image/{part.format};base64,{base64.b64encode(part.data).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
    return content


class _Unchanged(dict[str, object]):
    """A `response_format` that the SDK sends as it is; at a URL it would rewrite it for one kind of server alone."""

    def get(self, key: str, default: object = None) -> object:
        return None if key == "type" else super().get(key, default)


def parameters(options: ChatOptions) -> dict[str, object]:
    """Write the options; what is None is left to the server.

    Raises: Refused for a tool that must be called and is not there.
    """
    return {
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "stop": list(options.stop) or None,
        "seed": options.seed,
        "tools": [tool_json(tool) for tool in options.tools] or None,
        "tool_choice": _tool_choice(options),
        "response_format": None if options.output_schema is None else _schema_format(options.output_schema),
    }


def _schema_format(schema: Mapping[str, object]) -> dict[str, object]:
    return _Unchanged(type="json_schema", json_schema={"name": "answer", "schema": dict(schema), "strict": True})


def _tool_choice(options: ChatOptions) -> object:
    names = [tool.name for tool in options.tools]
    choice = options.tool_choice
    if choice in {"auto", "none"} and not names:
        return None
    if choice in {"auto", "none"} or (choice == "required" and names):
        return choice
    if choice not in names:
        fix = f"known: {', '.join(names) or 'none'}"
        raise Refused(InvalidRequest(message=f"no tool is named {choice!r}", fix=fix))
    return {"type": "function", "function": {"name": choice}}


@attrs.frozen(kw_only=True)
class Piece:
    """A part of an answer, as a server says it."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[int, str | None, str, str], ...] = ()
    reason: str | None = None
    usage: TokenUsage | None = None
    model: str = ""


def piece_of(said: "ChatCompletionOutput | ChatCompletionStreamOutput") -> Piece:
    """Read a whole answer, or a part of a streamed one."""
    used, choices = said.usage, said.choices or ()
    usage = (
        None
        if used is None
        else TokenUsage(prompt_tokens=used.prompt_tokens or 0, completion_tokens=used.completion_tokens or 0)
    )
    if not choices:
        return Piece(usage=usage, model=said.model or "")
    choice = choices[0]
    message = getattr(choice, "message", None) or getattr(choice, "delta")  # noqa: B009  # one of two classes
    return Piece(
        text=message.content or "",
        thinking=str(getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""),
        calls=tuple(_call_part(call, place) for place, call in enumerate(message.tool_calls or ())),
        reason=choice.finish_reason,
        usage=usage,
        model=said.model or "",
    )


def _call_part(call: object, place: int) -> tuple[int, str | None, str, str]:
    """Read a call, or a part of one, with its number, its id, its name and its arguments."""
    number, function = getattr(call, "index", None), getattr(call, "function", None)
    name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
    return number if isinstance(number, int) else place, getattr(call, "id", None), name or "", _text(arguments)


def _text(arguments: object) -> str:
    """Give arguments as JSON text, which some servers send as the object itself."""
    return arguments if isinstance(arguments, str) else "" if arguments is None else json.dumps(arguments)


def joined(pieces: Iterable[Piece], *, default_model: str) -> ChatResponse:
    """Put an answer together.

    Raises: Refused for an answer that has no end.
    """
    parts = list(pieces)
    reason = next((part.reason for part in reversed(parts) if part.reason), None)
    if reason is None:
        raise Refused(Unavailable(message="the answer broke off in the middle"))
    calls = _calls(parts)
    message = assistant_message(
        "".join(part.text for part in parts),
        thinking="".join(part.thinking for part in parts),
        tool_calls=calls,
    )
    usage = next((part.usage for part in reversed(parts) if part.usage is not None), None)
    return ChatResponse(
        message=message,
        finish_reason="tool_calls" if calls else _REASONS.get(reason, "stop"),
        usage=usage or TokenUsage(prompt_tokens=0, completion_tokens=0),
        model=next((part.model for part in parts if part.model), "") or default_model,
    )


def _calls(parts: Sequence[Piece]) -> tuple[ToolCall, ...]:
    """Join the parts of each call, which a stream sends by number."""
    found: dict[int, ToolCall] = {}
    for number, id_, name, arguments in (call for part in parts for call in part.calls):
        before = found.get(number, ToolCall(name="", arguments=""))
        found[number] = ToolCall(name=before.name + name, arguments=before.arguments + arguments, id=before.id or id_)
    return tuple(attrs.evolve(call, arguments=call.arguments or "{}") for _, call in sorted(found.items()))


def fitting(response: ChatResponse, schema: Mapping[str, object] | None) -> ChatResponse:
    """Give an answer that fits its schema.

    Raises: Refused for one that does not, and for a schema that is none.
    """
    if schema is None or response.message.tool_calls:
        return response
    missing = missing_extra("jsonschema")
    if missing is not None:
        raise Refused(missing)
    from jsonschema import SchemaError, ValidationError, validate

    try:
        validate(json.loads(text_of(response.message)), dict(schema))
    except SchemaError as error:
        raise Refused(InvalidRequest(message=f"output_schema is no JSON Schema: {error.message}")) from error
    except ValidationError as error:
        raise Refused(BackendFailed(message=f"the answer does not fit its schema: {error.message}")) from error
    except ValueError as error:
        ended = " (it reached max_tokens)" if response.finish_reason == "length" else ""
        raise Refused(BackendFailed(message=f"the answer is no JSON{ended}: {error}")) from error
    return response
