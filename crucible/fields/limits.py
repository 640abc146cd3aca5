"""How far the value of a field may go beyond its type: declared in the metadata of the field, where every reader finds it."""

import operator
import re
from collections.abc import Iterator, Mapping
from typing import SupportsFloat

import attrs

from crucible.fields.problems import Problem

_LIMITS = "crucible.limits"


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
        if isinstance(value, SupportsFloat):
            yield from self._missed(value if isinstance(value, int | float) else float(value))
        elif isinstance(value, str) and len(value) < self.min_length:
            yield Problem(path="", message="must not be empty", fix="write something")
        elif isinstance(value, tuple) and len(value) < self.min_length:
            message = "must not be empty" if self.min_length == 1 else f"must have at least {self.min_length} items"
            yield Problem(path="", message=message, fix="add to it, as in [a, b]")
        elif isinstance(value, tuple) and self.unique:
            for index, item in enumerate(value):
                if item in value[:index]:
                    yield Problem(path=f"[{index}]", message=f"{item!r} is there twice", fix="leave it out")
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
                yield Problem(path="", message=f"must be {name} {_number(bound)}, not {number}", fix=fix)


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


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
