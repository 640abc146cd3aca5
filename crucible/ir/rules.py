"""What a field may hold beyond its type, and what fields may hold together: declared beside them, checked by `problems_of`.

A limit stands in the metadata of its field, so that the check and the JSON Schema read the same numbers. A rule is a method
of the spec that gives problems; it names the fields that it reads, and is not asked while one of them is wrong by itself.
"""

import inspect
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import attrs

from crucible.ir.problems import Problem

S = TypeVar("S")

_LIMITS = "crucible.limits"
_READS = "crucible_reads"


@attrs.frozen(kw_only=True)
class Limits:
    """The bounds of a number, or of the length of a text or a list; `pattern` is for texts, `unique` for lists."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    min_length: int = 0
    pattern: str | None = None
    unique: bool = False

    def violated_by(self, value: object) -> Iterator[Problem]:
        """Say what a value must be that it is not.

        >>> [str(it) for it in Limits(above=0, at_most=1).violated_by(1.5)]
        ['must be at most 1, not 1.5 (lower it)']
        >>> [str(it) for it in Limits(min_length=1).violated_by("")]
        ['must not be empty (write something)']
        """
        if isinstance(value, int | float):
            yield from self._missed(value)
        elif isinstance(value, str) and len(value) < self.min_length:
            yield Problem(path="", message="must not be empty", fix="write something")
        elif isinstance(value, tuple) and len(value) < self.min_length:
            message = "must not be empty" if self.min_length == 1 else f"must have at least {self.min_length} items"
            yield Problem(path="", message=message, fix="add to it, as in [a, b]")
        elif isinstance(value, str) and self.pattern is not None and not re.fullmatch(self.pattern, value):
            message = f"must match {self.pattern}, which {value!r} does not"
            yield Problem(path="", message=message, fix="use no other characters")

    def _missed(self, number: float) -> Iterator[Problem]:
        bounds = (
            ("at least", self.at_least, operator.lt, "raise it"),
            ("above", self.above, operator.le, "raise it"),
            ("at most", self.at_most, operator.gt, "lower it"),
            ("below", self.below, operator.ge, "lower it"),
        )
        for name, bound, misses, fix in bounds:
            if bound is not None and misses(number, bound):
                yield Problem(path="", message=f"must be {name} {bound:g}, not {number}", fix=fix)


def within(limits: Limits) -> Mapping[str, object]:
    """Give the metadata of a field that has these limits."""
    return {_LIMITS: limits}


def limits_of(field: "attrs.Attribute[object]") -> Limits:
    """Give the limits of a field."""
    found = field.metadata.get(_LIMITS, Limits())
    assert isinstance(found, Limits)
    return found


AT_LEAST_0 = within(Limits(at_least=0))
AT_LEAST_1 = within(Limits(at_least=1))
ABOVE_0 = within(Limits(above=0))
FRACTION = within(Limits(at_least=0, at_most=1))
NOT_EMPTY = within(Limits(min_length=1))
UNIQUE = within(Limits(unique=True))
SOME_UNIQUE = within(Limits(min_length=1, unique=True))


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
