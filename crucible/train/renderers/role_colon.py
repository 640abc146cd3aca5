"""Plain text with role names, for base models that have no chat template."""

from collections.abc import Sequence

import attrs

from crucible.train.renderers.base import ParsedResponse
from crucible.train.renderers.layout import Span
from crucible.train.renderers.reading import answer
from crucible.train.renderers.refusals import first, no_images, no_surrogates, no_thinking, no_tools, system_comes_first
from crucible.train.types import Message, ToolSpec, text_of

_USER = "User:"


@attrs.frozen(kw_only=True)
class RoleColon:
    """`User: text`, a blank line, `Assistant: text`: the form of DeepSeek-R1-Zero.

    Follows tinker-cookbook's role_colon. A conversation that ends with an assistant's message ends with the `User:` that
    stops it, and that is trained on: the model has to learn to write it.

    Args:
        begin: the text of the token that begins a sequence, where the tokenizer has one.
    """

    begin: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that must be one token each."""
        return (self.begin,) if self.begin else ()

    @property
    def end_marks(self) -> tuple[str, ...]:
        """None: a base model ends a turn with text, or with the end of the sequence."""
        return ()

    @property
    def end_strings(self) -> tuple[str, ...]:
        """The name of the next speaker after a blank line."""
        return ("\n\n" + _USER,)

    @property
    def extends(self) -> bool:
        """Nothing is taken out of history."""
        return True

    @property
    def reads_thoughts(self) -> bool:
        """Never: a thought is a part of its own here."""
        return False

    def refusal(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str | None:
        """Refuse everything but text."""
        family = "role_colon"
        return first(
            no_surrogates(messages),
            no_tools(family, messages, tools),
            no_images(family, messages),
            no_thinking(family, messages),
            system_comes_first(family, messages),
        )

    def conversation(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a whole conversation."""
        spans = [Span(text=self.begin)]
        for index, message in enumerate(messages):
            spans.append(Span(text=f"{message.role.capitalize()}:"))
            spans.append(Span(text=f" {text_of(message)}\n\n", message=index))
        if messages[-1].role == "assistant":
            spans.append(Span(text=_USER, message=len(messages) - 1))
        return spans

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Span]:
        """Lay out a conversation up to where the assistant begins to write."""
        spans = self.conversation(messages, tools)
        return [*spans[: 1 + 2 * len(messages)], Span(text="Assistant:")]

    def read(self, text: str, end: str | None) -> ParsedResponse:
        """Read an answer: the text without the blank that follows the colon, and the blank line of its end."""
        said = text.removeprefix(" ").removesuffix("\n\n")
        return ParsedResponse(message=answer("", said), ended=end is not None)
