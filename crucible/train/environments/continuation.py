"""The prompt of the next turn, with the tokens of the last one as they were sampled.

Reading an answer and writing it again need not give the same tokens. Training on tokens that were never sampled is a silent
error, so what was sampled is kept, and only what follows it is rendered.
"""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.renderers import Renderer, RenderError, TrainOnWhat
from crucible.train.types import Chunk, EncodedTextChunk, Message, ModelInput, TokenId, ToolSpec


@attrs.frozen(kw_only=True)
class Turn:
    """A turn as it was sampled: the conversation before it, the prompt, the tokens, and the message they were read as."""

    before: tuple[Message, ...]
    prompt: ModelInput
    action: tuple[TokenId, ...]
    message: Message


def next_prompt(
    renderer: Renderer, turn: Turn, replies: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
) -> Result[ModelInput, RenderError]:
    """Give the prompt after `replies` to a turn: the turn's prompt, its very tokens, the end of turn if they lack it, the rest.

    A renderer that rewrites earlier turns (`extends` is False) has its way: then the prompt is the conversation rendered
    anew. So it is where a family ends its turns with text, since no token tells where the answer ends.
    """
    conversation = [*turn.before, turn.message]
    whole = renderer.generation_prompt([*conversation, *replies], tools=tools)
    if isinstance(whole, Failure) or not renderer.extends:
        return whole
    rendered = whole.unwrap()
    sampled = (*turn.prompt.tokens, *turn.action)
    if rendered.tokens[: len(sampled)] == sampled:
        return whole
    closed = renderer.supervised_example(conversation, TrainOnWhat.ALL_TOKENS, tools=tools)
    if isinstance(closed, Failure):
        return closed
    end = _end_of_turn(closed.unwrap().tokens, renderer.stop_tokens)
    if end is None or rendered.tokens[: len(closed.unwrap().tokens)] != closed.unwrap().tokens:
        return whole
    has_ended = turn.action[-1:] and turn.action[-1] in renderer.stop_tokens
    rest = rendered.beginning_at(end + 1 if has_ended else end)
    return Success(joined(turn.prompt, ModelInput.from_tokens(turn.action), rest))


def joined(*inputs: ModelInput) -> ModelInput:
    """Put inputs one after the other; neighbouring texts become one chunk.

    >>> joined(ModelInput.from_tokens([5]), ModelInput.from_tokens([6, 7])) == ModelInput.from_tokens([5, 6, 7])
    True
    """
    chunks: list[Chunk] = []
    for chunk in (chunk for each in inputs for chunk in each.chunks):
        last = chunks[-1] if chunks else None
        if isinstance(last, EncodedTextChunk) and isinstance(chunk, EncodedTextChunk):
            chunks[-1] = EncodedTextChunk(tokens=last.tokens + chunk.tokens)
        else:
            chunks.append(chunk)
    return ModelInput(chunks=tuple(chunks))


def _end_of_turn(tokens: tuple[TokenId, ...], stops: tuple[TokenId, ...]) -> int | None:
    """Find the last token that ends a turn."""
    return next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i] in stops), None)
