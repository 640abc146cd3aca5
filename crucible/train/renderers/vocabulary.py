"""The control tokens of a vocabulary, as they are looked for in texts."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import attrs

from crucible.train.types import TokenId, Tokenizer

_MARKUP = re.compile(r"(?=(<[^<>\s]+>|\[[A-Z_/]{2,}\]))")


@attrs.frozen(kw_only=True)
class Vocabulary:
    """The control tokens of a tokenizer, as they are looked for in texts.

    Args:
        controls: the id of each text that `Tokenizer.encode` reads as a control token.
    """

    controls: Mapping[str, TokenId]

    @property
    def ids(self) -> frozenset[TokenId]:
        """The control tokens."""
        return frozenset(self.controls.values())

    def places(self, text: str) -> list[int]:
        """Give the positions where a control token is spelled, those that overlap included.

        >>> Vocabulary(controls={"<a>": 1}).places("x<a><a")
        [1]
        """
        return [match.start() for match in _pattern(tuple(self.controls)).finditer(text)]

    def written(self, text: str) -> list[tuple[int, str]]:
        """Give the control tokens of a text with their positions, as a tokenizer reads them: none inside of another.

        >>> Vocabulary(controls={"<a>": 1, "<a>>": 2}).written("x<a>>")
        [(1, '<a>>')]
        """
        found: list[tuple[int, str]] = []
        position = 0
        for match in _pattern(tuple(self.controls)).finditer(text):
            if match.start() >= position:
                control = match.group() + match.group(match.lastindex or 0)
                found.append((match.start(), control))
                position = match.start() + len(control)
        return found

    def ends_within(self, text: str) -> bool:
        """Tell whether a text ends inside of a control token that another text could complete.

        >>> Vocabulary(controls={"<a>": 1}).ends_within("x<a"), Vocabulary(controls={"<a>": 1}).ends_within("x<a>")
        (True, False)
        """
        beginnings, longest = _beginnings(tuple(self.controls))
        return any(text[-size:] in beginnings for size in range(1, min(longest, len(text)) + 1))


def vocabulary_of(tokenizer: Tokenizer, texts: Iterable[str]) -> Vocabulary:
    """Give the control tokens of a tokenizer.

    One that does not say them (a class from before `control_tokens`) is asked about each markup in the texts.
    """
    said: Mapping[str, TokenId] | None = getattr(tokenizer, "control_tokens", None)
    if said is not None:
        return Vocabulary(controls=said)
    asked = {found: tokenizer.encode(found) for text in texts for found in _MARKUP.findall(text)}
    return Vocabulary(controls={found: tokens[0] for found, tokens in asked.items() if len(tokens) == 1})


@lru_cache(maxsize=32)
def _pattern(controls: tuple[str, ...]) -> re.Pattern[str]:
    """Match the first letter of each control token; the rest, the longest first, is the group that matched."""
    rests: dict[str, list[str]] = {}
    for control in controls:
        rests.setdefault(control[0], []).append(control[1:])
    return re.compile("|".join(f"{re.escape(first)}(?=({_any(rest)}))" for first, rest in rests.items()) or "(?!)")


def _any(words: list[str]) -> str:
    """Write a pattern of any of the words, the longest first, that looks at each letter once: there may be hundreds.

    >>> _any(["ab", "abc", "ad"])
    'a(?:b(?:c|)|d)'
    """
    rests: dict[str, list[str]] = {}
    for word in words:
        if word:
            rests.setdefault(word[0], []).append(word[1:])
    choices = [re.escape(first) + _any(rest) for first, rest in rests.items()] + ([""] if "" in words else [])
    return choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"


@lru_cache(maxsize=32)
def _beginnings(controls: tuple[str, ...]) -> tuple[frozenset[str], int]:
    found = {control[:size] for control in controls for size in range(1, len(control))}
    return frozenset(found), max(map(len, controls), default=0)
