"""Questions: rows split into a prompt and the answer that they expect."""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.renderers import Renderer
from crucible.train.supervised import conversation_of
from crucible.train.types import Message, ModelInput, Row, text_of


@attrs.frozen(kw_only=True)
class Question:
    """A row as a prompt, and the answer that it expects, None where it names none; `text` is the prompt's last message."""

    row: Row
    prompt: ModelInput
    text: str
    expected: str | None


@attrs.frozen(kw_only=True)
class Exchange:
    """What is asked, and the answer that is expected, None where there is none."""

    asked: tuple[Message, ...]
    expected: str | None


def question_of(row: Row, renderer: Renderer, *, index: int = 0) -> Result[Question, TrainError]:
    """Split a row into a prompt and the answer it expects.

    Fails: InvalidRequest with the index when the row asks nothing, or cannot be rendered.
    """

    def rendered(exchange: Exchange) -> Result[Question, TrainError]:
        text, expected = text_of(exchange.asked[-1]), exchange.expected
        return (
            renderer.generation_prompt(exchange.asked)
            .alt(lambda error: InvalidRequest(message=str(error), index=index))
            .map(lambda prompt: Question(row=row, prompt=prompt, text=text, expected=expected))
        )

    return conversation_of(row, index=index).bind(lambda read: exchange_of(read, index=index)).bind(rendered)


def exchange_of(messages: Sequence[Message], *, index: int = 0) -> Result[Exchange, TrainError]:
    """Split a conversation: an assistant's message at its end is what is expected, those before it are asked.

    Fails: InvalidRequest with the index when it asks nothing.
    """
    has_answer = bool(messages) and messages[-1].role == "assistant"
    asked = tuple(messages[:-1] if has_answer else messages)
    if not asked:
        fix = "put a message before the assistant's"
        return Failure(InvalidRequest(message="the row asks nothing", fix=fix, index=index))
    return Success(Exchange(asked=asked, expected=text_of(messages[-1]) if has_answer else None))
