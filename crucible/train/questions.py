"""Questions: rows split into a prompt and the answer that they expect."""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import AT_LEAST_1, checked
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


@attrs.frozen(kw_only=True, field_transformer=checked)
class PromptRules:
    """How long prompts may be: those of more than `max_prompt_tokens` are an error, or lose their beginning with `truncate`.

    What is cut is the oldest of a conversation, so what is asked last, and the place of the answer, stay; an image that is
    cut into is left out. `reason` says in the error where the limit is from.
    """

    max_prompt_tokens: int = attrs.field(metadata=AT_LEAST_1)
    truncate: bool = False
    reason: str = ""


def fitted(prompt: ModelInput, rules: PromptRules | None, *, index: int) -> Result[ModelInput, InvalidRequest]:
    """Give a prompt that is no longer than the rules allow; without rules every prompt is.

    >>> rules = PromptRules(max_prompt_tokens=2, truncate=True)
    >>> fitted(ModelInput.from_tokens([1, 2, 3]), rules, index=0).unwrap().tokens
    (2, 3)

    Fails: InvalidRequest with the index of the row when it is too long and may not be cut.
    """
    if rules is None or len(prompt) <= rules.max_prompt_tokens:
        return Success(prompt)
    if rules.truncate:
        return Success(prompt.beginning_at(len(prompt) - rules.max_prompt_tokens))
    message = f"the prompt of row {index} has {len(prompt)} tokens, {rules.max_prompt_tokens} are allowed{rules.reason}"
    fix = "raise max_length, leave the row out, or set truncate to cut the beginning of prompts"
    return Failure(InvalidRequest(message=message, fix=fix, index=index))


def question_of(
    row: Row, renderer: Renderer, *, index: int = 0, rules: PromptRules | None = None
) -> Result[Question, TrainError]:
    """Split a row into a prompt and the answer it expects.

    Fails: InvalidRequest with the index when the row asks nothing, cannot be rendered, or is longer than the rules allow.
    """

    def rendered(exchange: Exchange) -> Result[Question, TrainError]:
        text, expected = text_of(exchange.asked[-1]), exchange.expected
        return (
            renderer.generation_prompt(exchange.asked)
            .alt(lambda error: InvalidRequest(message=str(error), index=index))
            .bind(lambda prompt: fitted(prompt, rules, index=index))
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
