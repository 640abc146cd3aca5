"""What goes to a chat model that is not trained here, and what comes back."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.fields import AT_LEAST_0, AT_LEAST_1, Limits, checked, within
from crucible.train.types.messages import Message, ToolSpec

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class ChatOptions:
    """How to answer. None leaves it to the model's own default.

    Args:
        model: the model; None for the handler's default.
        temperature: 0 is the most likely answer.
        max_tokens: most tokens of the answer.
        top_p: keep the smallest set of tokens with at least this probability.
        stop: texts that end the answer; they are not part of it.
        seed: the same seed and messages give the same answer, as far as the model can.
        tools: what the model may call.
        tool_choice: whether it may, must not or must, or the name of the tool that it must call.
        output_schema: a JSON Schema that the answer, a JSON text, must fit.
    """

    model: str | None = None
    temperature: float | None = attrs.field(default=None, metadata=AT_LEAST_0)
    max_tokens: int | None = attrs.field(default=None, metadata=AT_LEAST_1)
    top_p: float | None = attrs.field(default=None, metadata=within(Limits(above=0, at_most=1)))
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    output_schema: Mapping[str, object] | None = None


@attrs.frozen(kw_only=True)
class TokenUsage:
    """How many tokens a request read and wrote."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together.

        >>> TokenUsage(prompt_tokens=3, completion_tokens=4).total_tokens
        7
        """
        return self.prompt_tokens + self.completion_tokens


@attrs.frozen(kw_only=True)
class ChatResponse:
    """One answer. Its message has the role `assistant`, and tool calls when the reason is `tool_calls`."""

    message: Message
    finish_reason: FinishReason
    usage: TokenUsage
    model: str
