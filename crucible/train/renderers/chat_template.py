"""A renderer for any model whose tokenizer carries a chat template.

The template is asked for each prefix of the conversation; what a prefix adds to the one before is that message's text. Where
the content stands in it is found by asking once more with a stand-in for the content, never by searching for words.

Text is encoded in the largest runs possible, as transformers encodes it, with two exceptions. An answer is a run of its
own, because a model that writes it cannot merge its first token into the prompt: so the tokens of a training example begin
with the very tokens of its generation prompt. And a run ends where the weight changes.
"""

from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.renderers.base import (
    ParsedResponse,
    RenderedExample,
    RenderError,
    TrainOnWhat,
    check_trainable,
    is_trained_on,
)
from crucible.train.renderers.quoting import Quoted, quote
from crucible.train.renderers.runs import Run, encode_runs
from crucible.train.types import (
    Message,
    ModelInput,
    TokenId,
    Tokenizer,
    ToolSpec,
    assistant_message,
    images_of,
    text_of,
    thinking_of,
)

STAND_IN = "\ue000\uf8ff\ue000"
"""Stands for a content while its place is looked for: private code points, no blank, in no vocabulary's merges."""


@attrs.frozen(kw_only=True)
class _Piece:
    """A part of the text; `apart` when its tokens never merge with those before."""

    text: str
    weight: float
    apart: bool = False


@attrs.frozen(kw_only=True)
class _Span:
    """Where a message's content and its end of turn are in its text."""

    start: int
    end: int


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

    @property
    def stop_tokens(self) -> tuple[TokenId, ...]:
        """The token that ends a sequence."""
        return (self.tokenizer.eos_token,)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def extends(self) -> bool:
        """Always: a template that rewrites earlier turns is an error here."""
        return True

    def generation_prompt(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> Result[ModelInput, RenderError]:
        """Give the tokens after which the model writes the next assistant message."""
        return self._quote(messages, tools).bind(
            lambda said: self._pieces(said.messages, TrainOnWhat.ALL_TOKENS).bind(
                lambda pieces: (
                    self._header(said.messages)
                    .bind(lambda header: self._encode([*pieces, _Piece(text=header, weight=1.0)], said.mark))
                    .map(lambda example: example.model_input)
                )
            )
        )

    def supervised_example(
        self, messages: Sequence[Message], train_on: TrainOnWhat, *, tools: Sequence[ToolSpec] = ()
    ) -> Result[RenderedExample, RenderError]:
        """Give the tokens of a whole conversation and what is trained on."""
        return (
            check_trainable(messages, train_on)
            .bind(lambda _: self._quote(messages, tools))
            .bind(
                lambda said: self._pieces(said.messages, train_on).bind(lambda pieces: self._encode(pieces, said.mark))
            )
        )

    def parse_response(self, tokens: Sequence[TokenId]) -> ParsedResponse:
        """Read sampled tokens as an assistant message, all of it text; the end of turn is cut off."""
        eos = self.tokenizer.eos_token
        known = [token for token in tokens if 0 <= token < self.tokenizer.vocab_size]
        ended = eos in known
        text = self.tokenizer.decode(known[: known.index(eos)] if ended else known)
        problem = None if len(known) == len(tokens) else "the answer holds a number that is no token"
        return ParsedResponse(message=assistant_message(text), ended=ended, problem=problem)

    def _encode(self, pieces: Sequence[_Piece], mark: str) -> Result[RenderedExample, RenderError]:
        return encode_runs(self.tokenizer, [Run(text=run.text, weight=run.weight) for run in _runs(pieces)], mark)

    def _quote(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Result[Quoted, RenderError]:
        problem = _unusable(messages, tools)
        return Failure(problem) if problem else Success(quote(self.tokenizer, messages, thoughts=True))

    def _pieces(self, messages: Sequence[Message], train_on: TrainOnWhat) -> Result[list[_Piece], RenderError]:
        pieces: list[_Piece] = []
        outside = float(train_on is TrainOnWhat.ALL_TOKENS)
        before = ""
        for index, message in enumerate(messages):
            after = self._text(messages[: index + 1])
            if isinstance(after, Failure):
                return after
            whole = after.unwrap()
            span = self._span(messages[:index], message, before, whole) if whole.startswith(before) else None
            if span is None:
                return Failure(_unstable(index))
            trained = is_trained_on(message, is_last=index == len(messages) - 1, train_on=train_on)
            is_answer = message.role == "assistant"
            text = whole[len(before) :]
            pieces += [
                _Piece(text=text[: span.start], weight=outside),
                _Piece(text=text[span.start : span.end], weight=float(trained), apart=is_answer),
                _Piece(text=text[span.end :], weight=outside, apart=is_answer),
            ]
            before = whole
        return Success(pieces)

    def _span(self, earlier: Sequence[Message], message: Message, before: str, whole: str) -> _Span | None:
        """Find the content and end of turn of the message that makes `before` the `whole`; None where they mix."""
        text = whole[len(before) :]
        framed = self._frame(earlier, message, before, text)
        header = self._header(earlier).value_or(None) if message.role == "assistant" and earlier else None
        end_of_turn = self.tokenizer.decode([self.tokenizer.eos_token])
        start, end = framed or (0, max(text.rfind(end_of_turn), 0))
        if header is not None and text.startswith(header):
            start = len(header)
        elif framed is None:
            return None
        found = text.find(end_of_turn, max(start, end))
        return _Span(start=start, end=len(text) if found < 0 else found + len(end_of_turn))

    def _frame(self, earlier: Sequence[Message], message: Message, before: str, text: str) -> tuple[int, int] | None:
        """Find where the content begins and ends, by what the template writes around a stand-in for it."""
        shown = self._text([*earlier, attrs.evolve(message, content=STAND_IN)]).value_or("")
        head, mark, tail = shown.removeprefix(before).partition(STAND_IN)
        content = text[len(head) : len(text) - len(tail)]
        fits = mark and head + content + tail == text and content.strip() == text_of(message).strip()
        return (len(head), len(head) + len(content)) if fits else None

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


def _runs(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Join pieces of the same weight, but for those that stand apart."""
    runs: list[_Piece] = []
    for piece in pieces:
        if runs and not piece.apart and piece.weight == runs[-1].weight:
            runs[-1] = attrs.evolve(runs[-1], text=runs[-1].text + piece.text)
        elif piece.text or piece.apart:
            runs.append(piece)
    return runs


def _unusable(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> RenderError | None:
    """Say why these messages cannot be written here."""
    if not messages:
        return RenderError(message="a conversation needs at least one message")
    if tools or any(images_of(message) or thinking_of(message) for message in messages):
        made_for = "tools, images and thinking need a renderer made for the model family"
        return RenderError(message=f"the chat template renderer writes text alone: {made_for}")
    for index, message in enumerate(messages):
        try:
            text_of(message).encode()
        except UnicodeEncodeError:
            broken = f"the content of message {index} is no text: it holds half a surrogate pair; repair its encoding"
            return RenderError(message=broken)
    return None


def _unstable(index: int) -> RenderError:
    return RenderError(
        message=f"the chat template rewrites earlier turns at message {index}, so its spans cannot be told apart: "
        "train on one turn at a time, or use a renderer made for this model family"
    )
