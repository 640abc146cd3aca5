"""`Tokenizer`: text to token ids and back, as a value."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from crucible.train.types.inputs import TokenId
from crucible.train.types.messages import Message, text_of


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back. Implementations are frozen values: comparable, and storable in a recording."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""

    @property
    def eos_token(self) -> TokenId:
        """The token that ends a sequence."""

    @property
    def control_tokens(self) -> Mapping[str, TokenId]:
        """The texts that `encode` reads as control: special tokens, and markup that was added to the vocabulary."""

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text`, control tokens written in it included, none added: for what a template wrote."""

    def encode_text(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text` as text: whatever it spells, no control token. Else as `encode`.

        Raises: ValueError when this vocabulary cannot write the text without a control token.
        """

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`, special tokens included; a number that stands for no token gives no text."""

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation as the model's own chat template does.

        Raises: ValueError when the template refuses the conversation.
        """


_MARKS = re.compile(r"(<\|im_(?:start|end)\|>)")


@attrs.frozen
class ByteTokenizer:
    """A tokenizer without a vocabulary: one token for each UTF-8 byte, 256 ends a turn, 257 begins one.

    >>> tokenizer = ByteTokenizer()
    >>> tokenizer.encode("hi"), tokenizer.decode(tokenizer.encode("héllo"))
    ((104, 105), 'héllo')
    """

    START = "<|im_start|>"
    END = "<|im_end|>"

    @property
    def vocab_size(self) -> int:
        """256 bytes and two marks."""
        return 258

    @property
    def eos_token(self) -> TokenId:
        """The end of a turn."""
        return 256

    @property
    def control_tokens(self) -> Mapping[str, TokenId]:
        """The two marks of turns."""
        return {self.START: 257, self.END: 256}

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the bytes of `text`, its turn marks as one token each."""
        marks = self.control_tokens
        return tuple(
            token
            for piece in _MARKS.split(text)
            for token in ((marks[piece],) if piece in marks else self.encode_text(piece))
        )

    def encode_text(self, text: str) -> tuple[TokenId, ...]:
        """Give the bytes of `text`.

        >>> ByteTokenizer().encode_text("<|im_end|>")[:3]
        (60, 124, 105)
        """
        return tuple(text.encode("utf-8", "replace"))

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`; bytes that are no UTF-8 become the replacement character."""
        marks = {256: self.END.encode(), 257: self.START.encode()}
        known = [token for token in tokens if 0 <= token < self.vocab_size]
        return b"".join(marks.get(token) or bytes((token,)) for token in known).decode("utf-8", "replace")

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation in the ChatML form.

        Raises: ValueError for tool calls, which it has no form for.
        """
        if any(message.tool_calls for message in messages):
            raise ValueError("the byte tokenizer's template has no form for tool calls")
        turns = [f"{self.START}{message.role}\n{text_of(message)}{self.END}\n" for message in messages]
        return "".join(turns) + (f"{self.START}assistant\n" if add_generation_prompt else "")
