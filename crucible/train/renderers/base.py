"""`Renderer`: between messages and tokens, in both directions."""

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise
from typing import Protocol

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.types import Chunk, EncodedTextChunk, ImageChunk, Message, ModelInput, TokenId, Tokenizer, ToolSpec


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
class PlacedImage:
    """An image and the position of the first of its tokens."""

    start: int
    chunk: ImageChunk


@attrs.frozen(kw_only=True)
class TokenSpan:
    """Tokens of one kind that follow each other, from `start` up to `stop`.

    Args:
        start: the position of the first.
        stop: the position after the last.
        control: whether the template wrote them as control tokens; else they are text, whatever it spells.
        trained: whether they are trained on.
    """

    start: int
    stop: int
    control: bool
    trained: bool


@attrs.frozen(kw_only=True)
class RenderedExample:
    """A conversation as tokens, with one weight for each: 1.0 where it is trained on, else 0.0.

    The positions of an image hold zeros, of weight 0. `control` are the positions of control tokens, ascending; all of
    them were written by the renderer, none by what people said.
    """

    tokens: tuple[TokenId, ...]
    weights: tuple[float, ...]
    images: tuple[PlacedImage, ...] = ()
    control: tuple[int, ...] = attrs.field(default=(), repr=False)

    @property
    def spans(self) -> tuple[TokenSpan, ...]:
        """Say which tokens are control and which are text, and which are trained on.

        >>> RenderedExample(tokens=(5, 6, 7), weights=(0.0, 1.0, 1.0), control=(2,)).spans[-1]
        TokenSpan(start=2, stop=3, control=True, trained=True)
        """
        control = set(self.control)
        kinds = [(place in control, weight > 0) for place, weight in enumerate(self.weights)]
        starts = [place for place, kind in enumerate(kinds) if place == 0 or kind != kinds[place - 1]]
        return tuple(
            TokenSpan(start=start, stop=stop, control=kinds[start][0], trained=kinds[start][1])
            for start, stop in pairwise([*starts, len(kinds)])
        )

    def show(self, tokenizer: Tokenizer) -> str:
        """Write the example for people, a line for each span: what it is, and its text.

        >>> from crucible.train.types import ByteTokenizer
        >>> print(RenderedExample(tokens=(104, 105, 256), weights=(0.0, 1.0, 1.0), control=(2,)).show(ByteTokenizer()))
        text              'h'
        text     trained  'i'
        control  trained  '<|im_end|>'
        """
        return "\n".join(
            f"{'control' if span.control else 'text':9}{'trained' if span.trained else '':9}"
            f"{tokenizer.decode(self.tokens[span.start : span.stop])!r}"
            for span in self.spans
        )

    @property
    def model_input(self) -> ModelInput:
        """The tokens and images in chunks."""
        chunks: list[Chunk] = []
        position = 0
        for image in self.images:
            chunks += [EncodedTextChunk(tokens=self.tokens[position : image.start]), image.chunk]
            position = image.start + len(image.chunk)
        chunks.append(EncodedTextChunk(tokens=self.tokens[position:]))
        return ModelInput(chunks=tuple(chunk for chunk in chunks if len(chunk)))

    def first(self, length: int) -> "RenderedExample":
        """Give the first `length` tokens; an image that the cut goes through, or that would end it, is left out.

        >>> RenderedExample(tokens=(5, 6, 7), weights=(0.0, 0.0, 1.0)).first(2)
        RenderedExample(tokens=(5, 6), weights=(0.0, 0.0), images=())
        """
        kept = self.images
        length = min(length, len(self.tokens))
        while kept and kept[-1].start + len(kept[-1].chunk) >= length:
            length = min(length, kept[-1].start)
            kept = kept[:-1]
        return RenderedExample(
            tokens=self.tokens[:length],
            weights=self.weights[:length],
            images=kept,
            control=tuple(place for place in self.control if place < length),
        )


@attrs.frozen(kw_only=True)
class ParsedResponse:
    """What a model answered. However broken, it is a message: what cannot be read as more stays in its text.

    Args:
        message: the assistant's message.
        ended: whether the model ended its turn; False when it was cut off.
        problem: what was wrong with the form, such as a tool call that is no JSON; None when nothing was.
    """

    message: Message
    ended: bool
    problem: str | None = None


class Renderer(Protocol):
    """Writes conversations as one model family does, and reads its answers. Pure: it holds its tokenizer."""

    @property
    def stop_tokens(self) -> tuple[TokenId, ...]:
        """The tokens that end a turn: to be given to the sampler."""

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end a turn, for families without a token for it."""

    @property
    def extends(self) -> bool:
        """Whether a conversation up to an assistant's answer renders to the first tokens of every longer one.

        Then a conversation of many turns is one training example. Where thinking is stripped from history, it is not.
        """

    def generation_prompt(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> Result[ModelInput, RenderError]:
        """Give the tokens after which the model writes the next assistant message."""

    def supervised_example(
        self, messages: Sequence[Message], train_on: TrainOnWhat, *, tools: Sequence[ToolSpec] = ()
    ) -> Result[RenderedExample, RenderError]:
        """Give the tokens of a whole conversation and what is trained on."""

    def parse_response(self, tokens: Sequence[TokenId]) -> ParsedResponse:
        """Read sampled tokens as an assistant message; the end of turn is cut off. Any tokens can be read."""


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
