"""`Completer` on nothing: it echoes, as the noop `LLMClient` does."""

import json
from collections.abc import Sequence

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop._answers import Answer, cut, echo, tool_call
from crucible.kitchen.ports import Completer, Completion, CompletionOptions
from crucible.train.errors import InvalidRequest
from crucible.train.types import Message


def completer(*, seed: int = 0, answer: Answer | None = None) -> Handlers[Completer]:
    """Handle completions without a model.

    Args:
        seed: of the words around the echo; `CompletionOptions.seed` is added to it.
        answer: what to say instead.
    """
    return Completer.handled_by(_Completer(seed, answer))


class _Completer(Completer):
    """A `Completer` that holds no state. Each of its tokens is a byte, and certain: its log-probability is 0."""

    def __init__(self, seed: int, answer: Answer | None) -> None:
        self._seed = seed
        self._answer = answer

    async def complete(
        self, messages: Sequence[Message], options: CompletionOptions = CompletionOptions()
    ) -> Result[Completion, KitchenError]:
        return self._completed(messages, options)

    async def complete_batch(
        self, conversations: Sequence[Sequence[Message]], options: CompletionOptions = CompletionOptions()
    ) -> Result[tuple[Completion, ...], KitchenError]:
        completions: list[Completion] = []
        for messages in conversations:
            completed = self._completed(messages, options)
            if isinstance(completed, Failure):
                return completed
            completions.append(completed.unwrap())
        return Success(tuple(completions))

    def _completed(self, messages: Sequence[Message], options: CompletionOptions) -> Result[Completion, KitchenError]:
        if not messages:
            return Failure(InvalidRequest(message="a conversation is empty", fix="give at least one message"))
        call = tool_call(options.tools, options.tool_choice) if self._answer is None else None
        if options.tool_choice not in {"auto", "none"} and self._answer is None and call is None:
            return Failure(InvalidRequest(message=f"no tool is named {options.tool_choice!r}"))
        seed = self._seed + (0 if options.temperature == 0 else options.seed)
        text = echo(messages, seed) if self._answer is None else self._answer(messages)
        if options.json_mode and self._answer is None:
            text = json.dumps({"text": text})
        said = cut("" if call else text, messages, max_tokens=options.max_tokens, stop=options.stop_sequences)
        return Success(
            Completion(
                text=said.text,
                finish_reason="tool_calls" if call else said.finish_reason,
                usage=said.usage,
                logprobs=(0.0,) * said.usage.completion_tokens if options.logprobs else None,
                tool_calls=(call,) if call else (),
            )
        )
