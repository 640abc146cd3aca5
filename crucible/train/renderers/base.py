"""`Renderer`: between messages and tokens, in both directions."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.types import Message, ModelInput, TokenId


class TrainOnWhat(Enum):
    """Which tokens of a conversation are trained on; of a message its content and its end-of-turn token are meant."""

    LAST_ASSISTANT_MESSAGE = "last_assistant_message"
    ALL_ASSISTANT_MESSAGES = "all_assistant_messages"
    ALL_MESSAGES = "all_messages"
    ALL_TOKENS = "all_tokens"
    ALL_USER_AND_SYSTEM_MESSAGES = "all_user_and_system_messages"
    CUSTOMIZED = "customized"


@attrs.frozen(kw_only=True)
class RenderError:
    """A conversation that cannot be rendered, or a response that cannot be parsed."""

    message: str

    def __str__(self) -> str:
        return self.message


@attrs.frozen(kw_only=True)
class RenderedExample:
    """A conversation as tokens, with one weight for each: 1.0 where it is trained on, else 0.0."""

    tokens: tuple[TokenId, ...]
    weights: tuple[float, ...]


class Renderer(Protocol):
    """Writes conversations as one model family does, and reads its answers. Pure: it holds its tokenizer."""

    def generation_prompt(self, messages: Sequence[Message]) -> Result[ModelInput, RenderError]:
        """Give the tokens after which the model writes the next assistant message."""

    def supervised_example(
        self, messages: Sequence[Message], train_on: TrainOnWhat
    ) -> Result[RenderedExample, RenderError]:
        """Give the tokens of a whole conversation and what is trained on."""

    def parse_response(self, tokens: Sequence[TokenId]) -> Message:
        """Read sampled tokens as an assistant message; the end of turn is cut off."""


def check_trainable(messages: Sequence[Message], train_on: TrainOnWhat) -> Result[None, RenderError]:
    """Check that messages choose for themselves exactly when training on `customized`."""
    chosen = [message.trainable is not None for message in messages]
    if train_on is TrainOnWhat.CUSTOMIZED and not all(chosen):
        index = chosen.index(False)
        return Failure(RenderError(message=f"training on `customized` needs `trainable` on message {index}"))
    if train_on is not TrainOnWhat.CUSTOMIZED and any(chosen):
        index = chosen.index(True)
        return Failure(
            RenderError(message=f"message {index} sets `trainable`, which counts only when training on `customized`")
        )
    return Success(None)


def is_trained_on(message: Message, *, is_last: bool, train_on: TrainOnWhat) -> bool:
    """Tell whether the content of a message is trained on.

    >>> is_trained_on(Message(role="user", content="?"), is_last=True, train_on=TrainOnWhat.LAST_ASSISTANT_MESSAGE)
    False
    """
    match train_on:
        case TrainOnWhat.LAST_ASSISTANT_MESSAGE:
            return is_last and message.role == "assistant"
        case TrainOnWhat.ALL_ASSISTANT_MESSAGES:
            return message.role == "assistant"
        case TrainOnWhat.ALL_MESSAGES | TrainOnWhat.ALL_TOKENS:
            return True
        case TrainOnWhat.ALL_USER_AND_SYSTEM_MESSAGES:
            return message.role in ("user", "system")
        case TrainOnWhat.CUSTOMIZED:
            return bool(message.trainable)
