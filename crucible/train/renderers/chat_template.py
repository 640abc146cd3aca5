"""A renderer for any model whose tokenizer carries a chat template.

The template is asked for each prefix of the conversation; what a prefix adds to the one before is that message's text.
Each piece (what stands before the content, the content with its end of turn, what follows) is encoded by itself, so that
the tokens of a training example begin with the very tokens of the generation prompt.
"""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.renderers.base import (
    RenderedExample,
    RenderError,
    TrainOnWhat,
    check_trainable,
    is_trained_on,
)
from crucible.train.types import Message, ModelInput, TokenId, Tokenizer


@attrs.frozen(kw_only=True)
class _Piece:
    text: str
    weight: float


@attrs.frozen
class ChatTemplateRenderer:
    """Renders through the tokenizer's own chat template.

    >>> from crucible.train.types import ByteTokenizer
    >>> renderer = ChatTemplateRenderer(ByteTokenizer())
    >>> conversation = [Message(role="user", content="2+2?"), Message(role="assistant", content="4")]
    >>> example = renderer.supervised_example(conversation, TrainOnWhat.LAST_ASSISTANT_MESSAGE).unwrap()
    >>> ByteTokenizer().decode([t for t, w in zip(example.tokens, example.weights, strict=True) if w])
    '4<|im_end|>'
    """

    tokenizer: Tokenizer

    def generation_prompt(self, messages: Sequence[Message]) -> Result[ModelInput, RenderError]:
        """Give the tokens after which the model writes the next assistant message."""
        return self._pieces(messages, TrainOnWhat.ALL_TOKENS).bind(
            lambda pieces: self._header(messages).map(
                lambda header: ModelInput.from_tokens(self._encode([*pieces, _Piece(text=header, weight=0.0)]).tokens)
            )
        )

    def supervised_example(
        self, messages: Sequence[Message], train_on: TrainOnWhat
    ) -> Result[RenderedExample, RenderError]:
        """Give the tokens of a whole conversation and what is trained on."""
        return check_trainable(messages, train_on).bind(lambda _: self._pieces(messages, train_on)).map(self._encode)

    def parse_response(self, tokens: Sequence[TokenId]) -> Message:
        """Read sampled tokens as an assistant message; the end of turn is cut off."""
        eos = self.tokenizer.eos_token
        kept = tokens[: tokens.index(eos)] if eos in tokens else tokens
        return Message(role="assistant", content=self.tokenizer.decode(kept))

    def _encode(self, pieces: Sequence[_Piece]) -> RenderedExample:
        tokens: list[TokenId] = []
        weights: list[float] = []
        for piece in pieces:
            encoded = self.tokenizer.encode(piece.text) if piece.text else ()
            tokens += encoded
            weights += [piece.weight] * len(encoded)
        return RenderedExample(tokens=tuple(tokens), weights=tuple(weights))

    def _pieces(self, messages: Sequence[Message], train_on: TrainOnWhat) -> Result[list[_Piece], RenderError]:
        if not messages:
            return Failure(RenderError(message="a conversation needs at least one message"))
        pieces: list[_Piece] = []
        before = ""
        for index, message in enumerate(messages):
            after = self._text(messages[: index + 1])
            if isinstance(after, Failure):
                return after
            text = after.unwrap()
            if not text.startswith(before):
                return Failure(_unstable(index))
            trained = is_trained_on(message, is_last=index == len(messages) - 1, train_on=train_on)
            split = self._split(messages[:index], message, text[len(before) :])
            if split is None:
                return Failure(_unstable(index))
            outside = float(train_on is TrainOnWhat.ALL_TOKENS)
            head, content, tail = split
            pieces += [
                _Piece(text=head, weight=outside),
                _Piece(text=content, weight=float(trained)),
                _Piece(text=tail, weight=outside),
            ]
            before = text
        return Success(pieces)

    def _split(self, earlier: Sequence[Message], message: Message, text: str) -> tuple[str, str, str] | None:
        """Split a message's text into what stands before its content, content and end of turn, and what follows."""
        start = text.rfind(message.content.strip())
        if message.role == "assistant" and earlier:
            header = self._header(earlier).value_or(None)
            start = len(header) if header is not None and text.startswith(header) else start
        if start < 0:
            return None
        end_of_turn = self.tokenizer.decode([self.tokenizer.eos_token])
        end = text.rfind(end_of_turn)
        end = end + len(end_of_turn) if end >= start else len(text)
        return text[:start], text[start:end], text[end:]

    def _header(self, messages: Sequence[Message]) -> Result[str, RenderError]:
        """Give what the template writes to make the model answer."""
        return self._text(messages).bind(
            lambda closed: self._text(messages, prompt=True).bind(
                lambda opened: Success(opened[len(closed) :]) if opened.startswith(closed) else Failure(_unstable(0))
            )
        )

    def _text(self, messages: Sequence[Message], *, prompt: bool = False) -> Result[str, RenderError]:
        try:
            return Success(self.tokenizer.render_chat(messages, add_generation_prompt=prompt))
        except ValueError as error:
            return Failure(RenderError(message=f"the chat template refuses this conversation: {error}"))


def _unstable(index: int) -> RenderError:
    return RenderError(
        message=f"the chat template rewrites earlier turns at message {index}, so its spans cannot be told apart: "
        "train on one turn at a time, or use a renderer made for this model family"
    )
