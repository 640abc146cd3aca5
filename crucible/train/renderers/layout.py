"""`LayoutRenderer`: the renderer of any family that says how it lays text out.

A family is a `Layout`: pure functions between messages and text, without a tokenizer. What is common to all of them is
here: tokens and weights of a text, stop sequences, and cutting an answer at its end.

Text is encoded in the longest runs of one weight, as the Hugging Face templates are, but for answers: each is a run of
its own, so that an example begins with the very tokens of its generation prompt, and sampled tokens stay as they are.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

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
from crucible.train.renderers.quoting import Quoted, decode_quoted, quote, unquoted
from crucible.train.renderers.runs import Run, encode_runs
from crucible.train.types import ImageChunk, Message, ModelInput, TokenId, Tokenizer, ToolSpec


@attrs.frozen(kw_only=True)
class Span:
    """A piece of a rendered conversation.

    Args:
        text: as written, marks included.
        message: the index of the message whose content, with its end of turn, this is; None for what stands around it.
        image: an image in place of text.
    """

    text: str
    message: int | None = None
    image: ImageChunk | None = None


class Layout(Protocol):
    """How one model family lays out conversations as text."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""

    @property
    def end_marks(self) -> tuple[str, ...]:
        """Those of the marks that end an assistant's turn."""

    @property
    def end_strings(self) -> tuple[str, ...]:
        """Texts that end an assistant's turn without being a token."""

    @property
    def extends(self) -> bool:
        """As `Renderer.extends`."""

    @property
    def reads_thoughts(self) -> bool:
        """Whether a thought in its tags, at the very beginning of an assistant's text, is taken for its thinking."""

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Say why this conversation cannot be written in this family's form; None when it can."""

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation that is not refused."""

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer without its end; `end` is the mark or text that ended it, None when it was cut off."""


@attrs.frozen
class LayoutRenderer:
    """Renders with a tokenizer in a family's layout.

    >>> from crucible.train.renderers.qwen3 import Qwen3
    >>> from crucible.train.types import ByteTokenizer, Message
    >>> renderer = LayoutRenderer(ByteTokenizer(), Qwen3(thinking="never"))
    >>> conversation = [Message(role="user", content="2+2?"), Message(role="assistant", content="4")]
    >>> example = renderer.supervised_example(conversation, TrainOnWhat.LAST_ASSISTANT_MESSAGE).unwrap()
    >>> ByteTokenizer().decode([t for t, w in zip(example.tokens, example.weights, strict=True) if w])
    '4<|im_end|>'
    """

    tokenizer: Tokenizer
    layout: Layout

    @property
    def stop_tokens(self) -> tuple[TokenId, ...]:
        """The tokens that end a turn: to be given to the sampler."""
        marks = [self.tokenizer.encode(mark) for mark in self.layout.end_marks]
        return tuple(tokens[0] for tokens in marks if len(tokens) == 1)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end a turn, for families without a token for it."""
        return self.layout.end_strings

    @property
    def extends(self) -> bool:
        """Whether a conversation up to an assistant's answer renders to the first tokens of every longer one."""
        return self.layout.extends

    def generation_prompt(
        self, messages: Sequence[Message], *, tools: Sequence[ToolSpec] = ()
    ) -> Result[ModelInput, RenderError]:
        """Give the tokens after which the model writes the next assistant message."""
        return (
            self._check(messages, tools)
            .map(lambda _: self._quote(messages, tools))
            .bind(lambda it: self._encode(self.layout.prompt(it.messages, it.tools), [False] * len(messages), it))
            .map(lambda example: example.model_input)
        )

    def supervised_example(
        self, messages: Sequence[Message], train_on: TrainOnWhat, *, tools: Sequence[ToolSpec] = ()
    ) -> Result[RenderedExample, RenderError]:
        """Give the tokens of a whole conversation and what is trained on."""
        trained = [
            is_trained_on(message, is_last=index == len(messages) - 1, train_on=train_on)
            for index, message in enumerate(messages)
        ]
        around = train_on is TrainOnWhat.ALL_TOKENS
        return (
            check_trainable(messages, train_on)
            .bind(lambda _: self._check(messages, tools))
            .map(lambda _: self._quote(messages, tools))
            .bind(lambda it: self._encode(self.layout.conversation(it.messages, it.tools), trained, it, around=around))
        )

    def parse_response(self, tokens: Sequence[TokenId]) -> ParsedResponse:
        """Read sampled tokens as an assistant message; the end of turn is cut off. Any tokens can be read."""
        size = self.tokenizer.vocab_size
        unknown = [token for token in tokens if not 0 <= token < size]
        known = [token for token in tokens if 0 <= token < size]
        ends = {*self.stop_tokens, self.tokenizer.eos_token}
        length = next((index for index, token in enumerate(known) if token in ends), len(known))
        end = self.tokenizer.decode(known[length : length + 1]) or None
        quoted, mark = decode_quoted(self.tokenizer, known[:length])
        text, end = _cut(quoted, self.layout.end_strings, end)
        parsed = self.layout.read(text, end)
        parsed = unquoted(parsed, mark)
        if not unknown or parsed.problem is not None:
            return parsed
        return attrs.evolve(parsed, problem=f"token {unknown[0]} is not in the vocabulary of {size}")

    def _check(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Result[None, RenderError]:
        if not messages:
            return Failure(RenderError(message="a conversation needs at least one message"))
        refusal = self.layout.refusal(messages, tools)
        return Success(None) if refusal is None else Failure(RenderError(message=refusal))

    def _quote(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Quoted:
        return quote(self.tokenizer, messages, tools, thoughts=self.layout.reads_thoughts)

    def _encode(
        self, spans: Sequence[Span], trained: Sequence[bool], said: Quoted, *, around: bool = False
    ) -> Result[RenderedExample, RenderError]:
        written = [span for span in spans if span.text or span.image]
        runs = [
            Run(
                text="".join(span.text for span in run),
                weight=float(_is_trained(run[0], trained, around=around)),
                image=run[0].image,
            )
            for run in _runs(written, trained, said.messages, around=around)
        ]
        return encode_runs(self.tokenizer, runs, said.mark)


def _runs(
    spans: Sequence[Span], trained: Sequence[bool], messages: Sequence[Message], *, around: bool
) -> list[list[Span]]:
    """Group the spans that are encoded together; an answer is always apart."""
    runs = [[span] for span in spans[:1]]
    for before, span in pairwise(spans):
        others = [each.message for each in (before, span) if each.message is not None]
        bounds_answer = span.message != before.message and any(messages[i].role == "assistant" for i in others)
        same = _is_trained(before, trained, around=around) == _is_trained(span, trained, around=around)
        if bounds_answer or not same or before.image is not None or span.image is not None:
            runs.append([span])
        else:
            runs[-1].append(span)
    return runs


def _is_trained(span: Span, trained: Sequence[bool], *, around: bool) -> bool:
    return around or (span.message is not None and trained[span.message])


def _cut(text: str, end_strings: Sequence[str], end: str | None) -> tuple[str, str | None]:
    """Cut a text at the first of the strings that end it."""
    found = [(text.find(string), string) for string in end_strings if string in text]
    if not found:
        return text, end
    start, string = min(found)
    return text[:start], string
