"""`LLMClient` on nothing: it echoes, calls the tool it must call, and fills in the schema it is given."""

import json
from collections.abc import Sequence

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.handlers.noop._answers import Answer, cut, echo, example_of, tool_call
from crucible.train.errors import InvalidRequest, TrainError, Unsupported
from crucible.train.ports import LLMClient
from crucible.train.types import ChatOptions, ChatResponse, Message


def llm(*, seed: int = 0, answer: Answer | None = None) -> Handlers[LLMClient]:
    """Handle chats without a model.

    Args:
        seed: of the words around the echo; `ChatOptions.seed` is added to it.
        answer: what to say instead; it is asked before tools and schemas are looked at no more.
    """
    return LLMClient.handled_by(_LLM(seed, answer))


class _LLM(LLMClient):
    """An `LLMClient` that holds no state."""

    def __init__(self, seed: int, answer: Answer | None) -> None:
        self._seed = seed
        self._answer = answer

    async def chat(
        self, messages: Sequence[Message], options: ChatOptions = ChatOptions()
    ) -> Result[ChatResponse, TrainError]:
        if not messages:
            return Failure(InvalidRequest(message="the conversation is empty", fix="give at least one message"))
        model = options.model or "noop"
        call = tool_call(options.tools, options.tool_choice) if self._answer is None else None
        if options.tool_choice not in {"auto", "none"} and self._answer is None and call is None:
            fix = f"known: {', '.join(tool.name for tool in options.tools) or 'none'}"
            return Failure(InvalidRequest(message=f"no tool is named {options.tool_choice!r}", fix=fix))
        try:
            text = self._text(messages, options)
        except ValueError as error:
            return Failure(Unsupported(feature=str(error), backend="noop", fix="give noop.llm an `answer` function"))
        said = cut("" if call else text, messages, max_tokens=options.max_tokens, stop=options.stop)
        message = Message(role="assistant", content=said.text, tool_calls=(call,) if call else ())
        reason = "tool_calls" if call else said.finish_reason
        return Success(ChatResponse(message=message, finish_reason=reason, usage=said.usage, model=model))

    def _text(self, messages: Sequence[Message], options: ChatOptions) -> str:
        if self._answer is not None:
            return self._answer(messages)
        if options.output_schema is not None:
            return json.dumps(example_of(options.output_schema))
        return echo(messages, self._seed + (0 if options.temperature == 0 else options.seed or 0))
