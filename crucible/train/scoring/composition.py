"""Scores of scores: and, or, and the mean.

`all_of` is the least and `any_of` the greatest score, so that on right and wrong they are `and` and `or`; both are
associative, commutative and idempotent, and each distributes over the other.
"""

from typing import TypeVar

from crucible.effects import Eff, both
from crucible.train.scoring.texts import Scorer

E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")


def all_of(*scorers: Scorer) -> Scorer:
    """Make the scorer that gives the least of what these give.

    >>> from crucible.train.scoring import contains, exact_match
    >>> all_of(exact_match, contains)("it is 42", "42")
    0.0

    Raises: ValueError for none.
    """
    _some(scorers)
    return lambda answer, expected: min(scorer(answer, expected) for scorer in scorers)


def any_of(*scorers: Scorer) -> Scorer:
    """Make the scorer that gives the greatest of what these give.

    >>> from crucible.train.scoring import contains, exact_match
    >>> any_of(exact_match, contains)("it is 42", "42")
    1.0

    Raises: ValueError for none.
    """
    _some(scorers)
    return lambda answer, expected: max(scorer(answer, expected) for scorer in scorers)


def mean_of(*scorers: Scorer) -> Scorer:
    """Make the scorer that gives the mean of what these give.

    >>> from crucible.train.scoring import contains, exact_match
    >>> mean_of(exact_match, contains)("it is 42", "42")
    0.5

    Raises: ValueError for none.
    """
    _some(scorers)
    return lambda answer, expected: sum(scorer(answer, expected) for scorer in scorers) / len(scorers)


def both_of(first: Eff[float, E, R], second: Eff[float, E2, R2]) -> Eff[float, E | E2, R | R2]:
    """Give the lesser of two scores that take effects; they are computed side by side.

    >>> from crucible.effects import Handlers, pure
    >>> Handlers.none().run(both_of(pure(0.25), pure(1.0)))
    <Success: 0.25>
    """
    return both(first, second).map(min)


def either_of(first: Eff[float, E, R], second: Eff[float, E2, R2]) -> Eff[float, E | E2, R | R2]:
    """Give the greater of two scores that take effects; they are computed side by side.

    >>> from crucible.effects import Handlers, pure
    >>> Handlers.none().run(either_of(pure(0.25), pure(1.0)))
    <Success: 1.0>
    """
    return both(first, second).map(max)


def _some(scorers: tuple[Scorer, ...]) -> None:
    if not scorers:
        raise ValueError("a composition needs at least one scorer: that of none would find everything right, or wrong")
