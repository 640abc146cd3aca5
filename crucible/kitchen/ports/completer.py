"""`Completer`: the port that answers conversations with text, one or many at a time."""

from abc import abstractmethod
from collections.abc import Sequence

import attrs

from crucible.effects import Port, Result
from crucible.fields import AT_LEAST_0, AT_LEAST_1, Limits, checked, within
from crucible.kitchen.errors import KitchenError
from crucible.train.errors import Unavailable
from crucible.train.types import FinishReason, Message, TokenUsage, ToolCall, ToolSpec


@attrs.frozen(kw_only=True, field_transformer=checked)
class CompletionOptions:
    """How to complete.

    Args:
        temperature: 0 is the most likely text.
        max_tokens: most tokens of the text.
        top_p: keep the smallest set of tokens with at least this probability.
        top_k: keep the k most likely tokens; -1 keeps all.
        stop_sequences: texts that end the completion; they are not part of it.
        presence_penalty: subtracted from the logit of a token that occurred.
        frequency_penalty: subtracted from the logit of a token for each time it occurred.
        logprobs: whether to give the log-probability of each token.
        seed: the same seed and messages give the same text.
        json_mode: whether the text must be a JSON value.
        tools: what the model may call.
        tool_choice: "auto", "none", "required", or the name of the tool that must be called.
    """

    temperature: float = attrs.field(default=0.7, metadata=AT_LEAST_0)
    max_tokens: int = attrs.field(default=1024, metadata=AT_LEAST_1)
    top_p: float = attrs.field(default=1.0, metadata=within(Limits(above=0, at_most=1)))
    top_k: int = attrs.field(default=-1, metadata=within(Limits(at_least=-1)))
    stop_sequences: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: bool = False
    seed: int = 0
    json_mode: bool = False
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"


@attrs.frozen(kw_only=True)
class Completion:
    """One completion; `logprobs` has one number for each token where they were asked for, and is None elsewhere."""

    text: str
    finish_reason: FinishReason
    usage: TokenUsage
    logprobs: tuple[float, ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()


class Completer(Port, unanswered=Unavailable.because):
    """Completes conversations."""

    @abstractmethod
    async def complete(
        self, messages: Sequence[Message], options: CompletionOptions = CompletionOptions()
    ) -> Result[Completion, KitchenError]:
        """Give the next assistant turn. No message at all is an InvalidRequest."""

    @abstractmethod
    async def complete_batch(
        self, conversations: Sequence[Sequence[Message]], options: CompletionOptions = CompletionOptions()
    ) -> Result[tuple[Completion, ...], KitchenError]:
        """Give the next assistant turn of each conversation, each as `complete` gives it; all or an error."""
