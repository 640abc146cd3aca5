"""What is looked for in a text, and what is done about it."""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.kitchen.handlers.guardrails._personal import PERSONAL_DATA, Find, Span
from crucible.kitchen.handlers.guardrails._phrases import Phrases, Strictness

Does: TypeAlias = Literal["tell", "redact", "refuse"]
Place: TypeAlias = Literal["system", "user", "assistant", "tool", "answer"]
DOES: tuple[Does, ...] = ("tell", "redact", "refuse")
PLACES: tuple[Place, ...] = ("system", "user", "assistant", "tool", "answer")

_PASSES = 20


def _places(places: Iterable[Place]) -> frozenset[Place]:
    return frozenset(places)


@attrs.frozen(kw_only=True)
class Check:
    """One thing that texts are looked at for: of ours, or of your own.

    Args:
        name: what is found, in events, in errors and in the mark that is put in its place.
        find: gives where in a text it stands, as pairs of from and up to.
        does: `tell` lets the call go on, `redact` puts `[NAME]` in its place, `refuse` fails the call.
        places: messages of which roles it looks at, and whether at the answer.
    """

    name: str
    find: Callable[[str], Iterable[Span]]
    does: Does = attrs.field(validator=attrs.validators.in_(DOES))
    places: frozenset[Place] = attrs.field(
        default=frozenset(PLACES),
        converter=_places,
        validator=attrs.validators.deep_iterable(attrs.validators.in_(PLACES)),
    )

    @property
    def mark(self) -> str:
        """What is put in the place of what is found."""
        return f"[{self.name.upper()}]"


def matching(pattern: str) -> Find:
    r"""Give what finds a regular expression.

    >>> list(matching(r"(?i)project \w+")("all about Project Alpha"))
    [(10, 23)]
    """
    compiled = re.compile(pattern)

    def find(text: str) -> Iterator[Span]:
        return (match.span() for match in compiled.finditer(text))

    return find


def personal_data(
    does: Does = "redact", *, kinds: Collection[str] = tuple(PERSONAL_DATA), places: Collection[Place] = PLACES
) -> tuple[Check, ...]:
    """Look for personal data: `email`, `phone`, `payment_card` (Luhn), `iban` (MOD 97) and `ssn` (USA).

    Patterns and checksums find what is written in the usual way. They find no names, no addresses of houses, and nothing that
    somebody took pains to hide.

    Raises: ValueError for a kind that is none of these.
    """
    unknown = [kind for kind in kinds if kind not in PERSONAL_DATA]
    if unknown:
        raise ValueError(f"nothing finds {unknown[0]!r}; there are: {', '.join(sorted(PERSONAL_DATA))}")
    places_of_it = frozenset(places)
    return tuple(
        Check(name=kind, find=find, does=does, places=places_of_it)
        for kind, find in PERSONAL_DATA.items()
        if kind in kinds
    )


def prompt_injection(
    does: Does = "refuse", *, strictness: Strictness = "moderate", places: Collection[Place] = ("user", "tool")
) -> tuple[Check, ...]:
    """Look for phrases that tell a model to leave its instructions, in what users wrote and what tools read.

    A short list of patterns, in English: it catches the plain cases, and those only. Whoever rephrases, translates or encodes
    gets by, so it is no protection for a model that may do harm. `strict` has more patterns, and more false alarms;
    `permissive` has the few that hardly anybody writes by chance.
    """
    find = Phrases("prompt_injection", strictness)
    return (Check(name="prompt_injection", find=find, does=does, places=frozenset(places)),)


def jailbreaks(
    does: Does = "refuse", *, strictness: Strictness = "moderate", places: Collection[Place] = ("user", "tool")
) -> tuple[Check, ...]:
    """Look for phrases that ask a model to play one without rules; the same holds of them as of `prompt_injection`."""
    find = Phrases("jailbreak", strictness)
    return (Check(name="jailbreak", find=find, does=does, places=frozenset(places)),)


@attrs.define
class Looked:
    """What checks found in the texts of one request or one answer; `texts` go through it, and come out redacted."""

    checks: Sequence[Check]
    counts: Counter[str] = attrs.field(factory=Counter)
    refused: bool = False

    def look(self, text: str, place: Place) -> str:
        """Note what is found in a text, and give it without what is to be redacted."""
        checks = [check for check in self.checks if place in check.places]
        found = _found(text, checks)
        self.counts.update(check.name for _, _, check in found)
        self.refused |= any(check.does == "refuse" for _, _, check in found)
        return self._redacted(text, [check for check in checks if check.does == "redact"])

    def _redacted(self, text: str, checks: Sequence[Check]) -> str:
        """Redact until nothing is found any more: what stood around a mark may be something by itself.

        A check that finds its own mark would find something for ever: such a text is refused.
        """
        for _ in range(_PASSES):
            found = _found(text, checks)
            if not found:
                return text
            pieces, position = list[str](), 0
            for begin, end, check in found:
                pieces += [text[position:begin], check.mark]
                position = end
            text = "".join([*pieces, text[position:]])
        self.refused = True
        return text


def _found(text: str, checks: Sequence[Check]) -> list[tuple[int, int, Check]]:
    """Give in order what is found, from, up to and by which check; of two that overlap, the one of the first check."""
    apart: list[tuple[int, int, Check]] = []
    for check in checks:
        for begin, end in check.find(text):
            place = bisect(apart, begin, key=lambda each: each[0])
            is_free = (place == 0 or apart[place - 1][1] <= begin) and (place == len(apart) or end <= apart[place][0])
            if begin < end and is_free:
                apart.insert(place, (begin, end, check))
    return apart
