"""What a field may hold beyond its type, and what fields may hold together: declared beside them, checked by `problems_of`.

A limit stands in the metadata of its field, so that the check and the JSON Schema read the same numbers. A rule is a method
of the spec that gives problems; it names the fields that it reads, and is not asked while one of them is wrong by itself.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import attrs

from crucible.fields import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    NOT_EMPTY,
    SOME_UNIQUE,
    UNIQUE,
    Limits,
    Problem,
    limits_of,
    within,
)

__all__ = [
    "ABOVE_0",
    "AT_LEAST_0",
    "AT_LEAST_1",
    "FRACTION",
    "NOT_EMPTY",
    "SOME_UNIQUE",
    "UNIQUE",
    "Limits",
    "Rule",
    "limits_of",
    "rule",
    "rules_of",
    "within",
]

S = TypeVar("S")

_READS = "crucible_reads"


def rule(*reads: str) -> Callable[[Callable[[S], Iterable[Problem]]], Callable[[S], Iterable[Problem]]]:
    """Make a method a rule on several fields: those that it `reads`, as paths below the spec."""

    def mark(method: Callable[[S], Iterable[Problem]]) -> Callable[[S], Iterable[Problem]]:
        vars(method)[_READS] = reads
        return method

    return mark


@attrs.frozen
class Rule:
    """A rule of a class: what it reads, and the method that asks it."""

    reads: tuple[str, ...]
    ask: Callable[[object], Iterable[Problem]]


def rules_of(spec: type) -> Iterator[Rule]:
    """Give the rules of a class, those of its bases too, in the order of their names."""
    for _, method in inspect.getmembers(spec, inspect.isfunction):
        if _READS in vars(method):
            yield Rule(vars(method)[_READS], method)
