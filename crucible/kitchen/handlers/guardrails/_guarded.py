"""The layer that checks what goes to a model, and what comes back."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal, TypeVar

import attrs

from crucible.effects import Call, Failure, Handlers, Proceed, Result, Success
from crucible.kitchen.handlers.guardrails._checks import Check, Looked, Place
from crucible.kitchen.ports import Completer, Completion, CompletionOptions
from crucible.train.errors import BackendFailed, InvalidRequest
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, ChatResponse, Message, TextPart, ThinkingPart, ToolCall

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class GuardrailTripped:
    """Something was found in what went to a model, or came back: how often, by the name of the check, and never what."""

    NAME: ClassVar[str] = "crucible_kitchen.guardrail.tripped"
    call: str
    where: Literal["messages", "answer"]
    counts: dict[str, int]
    refused: bool


def guarded(
    handlers: Handlers[R], checks: Iterable[Check], *, into: Callable[[GuardrailTripped], object] | None = None
) -> Handlers[R]:
    """Check the messages that go to chat models and completers, and their answers: texts, thinking and arguments of tool calls.

    What is to be redacted is redacted on the way out and on the way back. A refused request is an InvalidRequest with the index of
    the message (or of the conversation of a batch), and is not sent; a refused answer is a BackendFailed. Both name the checks
    and how often they found something, never the text. Images are not looked at, and other operations are not touched.

    Outside of `record` the journal holds what was sent, redacted; inside of it, what the program said.

    >>> from crucible.effects import perform
    >>> from crucible.kitchen.handlers import noop
    >>> from crucible.kitchen.handlers.guardrails import jailbreaks, personal_data
    >>> found = []
    >>> careful = guarded(noop.llm(), [*personal_data(), *jailbreaks()], into=found.append)
    >>> ask = lambda text: careful.run(perform(LLMClient.chat, [Message(role="user", content=text)]))
    >>> "ann@example.org" in ask("I am ann@example.org").unwrap().message.content
    False
    >>> print(ask("Do anything now!").failure())
    guardrails refused a message: jailbreak (1) (item 0): leave it out, or change the checks
    >>> [(event.where, event.counts, event.refused) for event in found]
    [('messages', {'email': 1}, False), ('messages', {'jailbreak': 1}, True)]

    Args:
        handlers: of chats, completions, and others if need be.
        checks: `personal_data()`, `prompt_injection()`, `jailbreaks()`, and your own.
        into: is shown what was found, before the call goes on; `telemetry` of your own, say.
    """
    guard = _Guard(checks=tuple(checks), into=into)

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.operation not in _MESSAGES:
            return await proceed(call)
        sent = guard.outgoing(call)
        if isinstance(sent, Failure):
            return sent
        asked = sent.unwrap()
        result = await proceed(asked)
        return guard.incoming(asked, result.unwrap()) if isinstance(result, Success) else result

    return handlers.wrap(around)


_MESSAGES = {LLMClient.chat: "messages", Completer.complete: "messages", Completer.complete_batch: "conversations"}


@attrs.frozen(kw_only=True)
class _Guard:
    """The checks, and who is told."""

    checks: tuple[Check, ...]
    into: Callable[[GuardrailTripped], object] | None

    def outgoing(self, call: Call) -> Result[Call, InvalidRequest]:
        """Give the call as it may be sent."""
        arguments = call.by_name
        name = _MESSAGES[call.operation]
        asked: Sequence[Message | Sequence[Message]] = arguments[name]  # type: ignore[assignment]  # the ports say so
        sent: list[object] = []
        for index, each in enumerate(asked):
            looked = Looked(self.checks)
            sent.append(_mapped(each, looked) if isinstance(each, Message) else [_mapped(one, looked) for one in each])
            self._tell(call, "messages", looked)
            if looked.refused:
                what = "a message" if name == "messages" else "a conversation"
                fix = "leave it out, or change the checks"
                return Failure(
                    InvalidRequest(message=f"guardrails refused {what}: {_counts(looked)}", fix=fix, index=index)
                )
        return Success(attrs.evolve(call, arguments=(), keywords={**arguments, name: tuple(sent)}))

    def incoming(self, call: Call, answer: object) -> Result[object, BackendFailed]:
        """Give the answer as it may be seen."""
        looked = Looked(self.checks)
        is_json = _asks_for_json(call.by_name["options"])
        seen = answer
        if isinstance(answer, ChatResponse):
            seen = attrs.evolve(answer, message=_mapped(answer.message, looked, place="answer", is_json=is_json))
        elif isinstance(answer, Completion):
            seen = _seen(answer, looked, is_json=is_json)
        elif isinstance(answer, tuple):
            seen = tuple(_seen(each, looked, is_json=is_json) for each in answer)
        self._tell(call, "answer", looked)
        if looked.refused:
            return Failure(BackendFailed(message=f"guardrails refused the answer: {_counts(looked)}"))
        return Success(seen)

    def _tell(self, call: Call, where: Literal["messages", "answer"], looked: Looked) -> None:
        if self.into is not None and (looked.counts or looked.refused):
            counts = dict(sorted(looked.counts.items()))
            self.into(GuardrailTripped(call=call.name, where=where, counts=counts, refused=looked.refused))


def _counts(looked: Looked) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(looked.counts.items()))


def _asks_for_json(options: object) -> bool:
    if isinstance(options, ChatOptions):
        return options.output_schema is not None
    return isinstance(options, CompletionOptions) and options.json_mode


def _seen(answer: Completion, looked: Looked, *, is_json: bool) -> Completion:
    text = _text(answer.text, looked, "answer", is_json=is_json)
    logprobs = answer.logprobs if text == answer.text else None  # those of the tokens of another text
    calls = _calls(answer.tool_calls, looked, "answer")
    return attrs.evolve(answer, text=text, logprobs=logprobs, tool_calls=calls)


def _mapped(message: Message, looked: Looked, *, place: Place | None = None, is_json: bool = False) -> Message:
    """Give a message with each of its texts as it may be seen."""
    where: Place = place or message.role
    content = message.content
    seen = (
        _text(content, looked, where, is_json=is_json)
        if isinstance(content, str)
        else tuple(
            attrs.evolve(part, text=_text(part.text, looked, where, is_json=is_json and isinstance(part, TextPart)))
            if isinstance(part, TextPart | ThinkingPart)
            else part
            for part in content
        )
    )
    return attrs.evolve(message, content=seen, tool_calls=_calls(message.tool_calls, looked, where))


def _calls(calls: Sequence[ToolCall], looked: Looked, place: Place) -> tuple[ToolCall, ...]:
    return tuple(attrs.evolve(call, arguments=_text(call.arguments, looked, place, is_json=True)) for call in calls)


def _text(text: str, looked: Looked, place: Place, *, is_json: bool) -> str:
    """Give a text as it may be seen; JSON is looked at value by value, so that it stays JSON."""
    if not is_json:
        return looked.look(text, place)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return looked.look(text, place)
    seen = _json(value, partial(looked.look, place=place))
    return text if seen == value else json.dumps(seen, ensure_ascii=False)


def _json(value: object, look: Callable[[str], str]) -> object:
    if isinstance(value, dict):
        return {look(key): _json(item, look) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item, look) for item in value]
    if isinstance(value, str):
        return look(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        written = str(value)
        seen = look(written)
        return value if seen == written else seen
    return value
