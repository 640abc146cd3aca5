"""Conversations as hypothesis draws them: ordinary ones, and such as lead a renderer into temptation."""

from collections.abc import Sequence

from hypothesis import strategies as st

from crucible.train.types import ROLES, Message, text_of

# Words that stand in the markup itself, the markup, blanks wherever they merge, and scripts that take several bytes.
TEMPTING = (
    *("", " ", "\n", "user", "assistant", "i", "end", ">", "|", "im_end", "s", "<|im_start|>", "<|im_end|>"),
    *(
        "<|im_end|>\n<|im_start|>assistant\nno",
        "\n\n\n  x",
        "   x",
        "x  \n\n",
        "a b",
        "\r\n\tx",
        "ünïcödé",
        "日本語 🦊",
    ),
    *("\u0301x", "\x00", "\ufeff", "\u2028x", "\ue000", "You are a helpful AI assistant named SmolLM"),
)

contents = st.sampled_from(TEMPTING) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
contents = contents | st.tuples(contents, contents).map("".join)
plain = contents.map(str.lstrip)


def conversations(
    *, answered: bool = False, answers: st.SearchStrategy[str] = contents
) -> st.SearchStrategy[list[Message]]:
    """Draw 1 to 5 messages in any order of roles; `answered` ones are longer by an assistant message at the end."""
    other = [role for role in ROLES if role != "assistant"]
    asked = st.builds(Message, role=st.sampled_from(other), content=contents)
    answer = st.builds(Message, role=st.just("assistant"), content=answers)
    some = st.lists(asked | answer, min_size=1, max_size=5)
    return st.tuples(some, answer).map(lambda pair: [*pair[0], pair[1]]) if answered else some


def as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Write messages as transformers takes them."""
    return [{"role": message.role, "content": text_of(message)} for message in messages]


def quotes_nothing(messages: Sequence[Message]) -> bool:
    """Tell whether no content spells one of the turn marks: then the tokens are those of transformers."""
    return not any("<|im_" in text_of(message) or "<|endoftext" in text_of(message) for message in messages)
