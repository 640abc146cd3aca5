"""`Tokenizer`: text to token ids and back, as a value."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import attrs

from crucible.train.types.inputs import TokenId
from crucible.train.types.messages import Message


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back. Implementations are frozen values: comparable, and storable in a recording."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest token id."""

    @property
    def eos_token(self) -> TokenId:
        """The token that ends a sequence."""

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the tokens of `text`, special tokens written in it included, none added."""

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`, special tokens included."""

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation as the model's own chat template does."""


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

    def encode(self, text: str) -> tuple[TokenId, ...]:
        """Give the bytes of `text`, its turn marks as one token each."""
        pieces = text.replace(self.START, "\ud800").replace(self.END, "\udc00")
        marks = {"\ud800": (257,), "\udc00": (256,)}
        return tuple(
            token for character in pieces for token in marks.get(character) or character.encode("utf-8", "replace")
        )

    def decode(self, tokens: Sequence[TokenId]) -> str:
        """Give the text of `tokens`; bytes that are no UTF-8 become the replacement character."""
        marks = {256: self.END.encode(), 257: self.START.encode()}
        return b"".join(marks.get(token) or bytes((token,)) for token in tokens).decode("utf-8", "replace")

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """Write a conversation in the ChatML form."""
        turns = [f"{self.START}{message.role}\n{message.content}{self.END}\n" for message in messages]
        return "".join(turns) + (f"{self.START}assistant\n" if add_generation_prompt else "")
