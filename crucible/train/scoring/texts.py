"""Scorers of text: pure functions of an answer and what was expected, from 0.0 (wrong) to 1.0 (right)."""

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

Scorer: TypeAlias = Callable[[str, str], float]
"""Scores an answer, the first argument, against what was expected; options are set with `functools.partial`."""

_WHOLE = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+"
_NUMBER = re.compile(rf"(?:(?<![\w).])[-+])?(?:(?:{_WHOLE})(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(answer: str, expected: str, *, strip: bool = True, ignore_case: bool = False) -> float:
    r"""Tell whether two texts are the same.

    >>> (
    ...     exact_match(" 42\n", "42"),
    ...     exact_match(" 42\n", "42", strip=False),
    ...     exact_match("Yes", "yes", ignore_case=True),
    ... )
    (1.0, 0.0, 1.0)
    """
    return float(_plain(answer, strip, ignore_case) == _plain(expected, strip, ignore_case))


def contains(answer: str, expected: str, *, strip: bool = True, ignore_case: bool = False) -> float:
    """Tell whether the expected text stands in the answer. An empty one is found only in an empty answer.

    >>> contains("It is Paris.", "Paris"), contains("It is Paris.", "paris"), contains("anything", "")
    (1.0, 0.0, 0.0)
    """
    found, wanted = _plain(answer, strip, ignore_case), _plain(expected, strip, ignore_case)
    return float(wanted in found if wanted else not found)


def matches_pattern(answer: str, pattern: str, *, whole: bool = False, ignore_case: bool = False) -> float:
    r"""Tell whether a regular expression is found in the answer, or fits the `whole` of it; `.` is any character.

    The expected text is the pattern. Python's engine can take a time exponential in the answer over patterns such as
    `(a+)+b`: patterns are to come from you, never from a model.

    >>> matches_pattern("the answer is 42.", r"\b\d+\b"), matches_pattern("no. 42", r"\d+", whole=True)
    (1.0, 0.0)

    Raises: re.error for a pattern that is none.
    """
    compiled = re.compile(pattern, re.DOTALL | (re.IGNORECASE if ignore_case else 0))
    return float((compiled.fullmatch(answer) if whole else compiled.search(answer)) is not None)


def last_number(text: str) -> float | None:
    """Read the last number in a text; None when there is none, or none that a float can hold.

    >>> last_number("From 3-5 of them, $1,234.50"), last_number("x = -2e-3"), last_number("none")
    (1234.5, -0.002, None)
    """
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    if not found:
        return None
    number = float(found[-1].replace(",", ""))
    return number if abs(number) != float("inf") else None


def numeric_match(answer: str, expected: str, *, tolerance: float = 1e-4, partial: bool = False) -> float:
    """Tell whether the last number of the answer is the expected one, up to `tolerance`.

    The distance is |a - e| / max(|e|, 1): absolute for small numbers, relative for large ones. With `partial`, a number
    that is further away scores 1 - distance, and never less than 0. An answer without a number scores 0.

    >>> numeric_match("so it is 3.14159", "3.1416"), numeric_match("9", "10"), numeric_match("9", "10", partial=True)
    (1.0, 0.0, 0.9)

    Raises: ValueError when what is expected is no number: then the row is wrong, not the answer.
    """
    wanted, found = last_number(expected), last_number(answer)
    if wanted is None:
        raise ValueError(f"a number is expected, and {expected!r} holds none")
    if found is None:
        return 0.0
    distance = abs(found - wanted) / max(abs(wanted), 1.0)
    if distance <= tolerance:
        return 1.0
    return max(0.0, 1.0 - distance) if partial else 0.0


def normalize(text: str) -> str:
    """Normalise as SQuAD does: lower case, no punctuation, no articles, single spaces.

    >>> normalize("The cat,  a  Dog!")
    'cat dog'
    """
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(answer: str, expected: str) -> float:
    """Give the harmonic mean of precision and recall over bags of normalised words (SQuAD; Rajpurkar et al. 2016).

    Words count as often as they stand in both. Where one side has no word at all, the score is 1 if neither has (SQuAD 2.0).

    >>> token_f1("the black cat", "a cat"), token_f1("", "the"), token_f1("cat cat", "cat dog")
    (0.6666666666666666, 1.0, 0.5)
    """
    found, wanted = Counter(normalize(answer).split()), Counter(normalize(expected).split())
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


def _plain(text: str, strip: bool, ignore_case: bool) -> str:  # noqa: FBT001  # passed on as they came
    text = text.strip() if strip else text
    return text.casefold() if ignore_case else text
