"""Questions: rows split into a prompt and the answer that they expect."""

import attrs

from crucible.effects import Failure, Result
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.renderers import Renderer
from crucible.train.supervised import conversation_of
from crucible.train.types import ModelInput, Row, text_of


@attrs.frozen(kw_only=True)
class Question:
    """A row as a prompt, and the answer that it expects; `text` is the last message of the prompt."""

    row: Row
    prompt: ModelInput
    text: str
    expected: str


def question_of(row: Row, renderer: Renderer, *, index: int = 0) -> Result[Question, TrainError]:
    """Split a row into a prompt and the answer it expects.

    Fails: InvalidRequest with the index when the row does not end with an assistant message, or cannot be rendered.
    """
    read = conversation_of(row, index=index)
    if isinstance(read, Failure):
        return read
    *asked, answer = read.unwrap()
    if answer.role != "assistant" or not asked:
        fix = "give it an answer to compare with"
        return Failure(InvalidRequest(message="the row does not end with an assistant message", fix=fix, index=index))
    return (
        renderer.generation_prompt(asked)
        .alt(lambda error: InvalidRequest(message=str(error), index=index))
        .map(lambda prompt: Question(row=row, prompt=prompt, text=text_of(asked[-1]), expected=text_of(answer)))
    )
