"""Whether a value is of an annotated type, and how to speak of one that is not.

Nothing is converted. A whole number may stand for a fraction, and the numbers of numpy for those of Python; a truth value is no
number, NaN and the infinities are not either, and a list is no tuple.
"""

import math
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from enum import Enum
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, NewType, Union, get_args, get_origin, get_type_hints

from crucible.fields.limits import Limits
from crucible.fields.problems import Problem

_LARGEST = 2**63


def alternatives(kind: object) -> tuple[object, ...]:
    """Give the types of a union, or the one type."""
    return get_args(kind) if get_origin(kind) in {Union, types.UnionType} else (kind,)


@cache
def field_types(kind: type) -> Mapping[str, object]:
    """Give the types of the fields of a class of specs."""
    return get_type_hints(kind)


def nearest(key: str, known: tuple[str, ...], *, likeness: float = 0.7) -> str | None:
    """Give the one of `known` that was probably meant; `likeness` is from 0 to 1."""
    return next(iter(get_close_matches(key, known, n=1, cutoff=likeness)), None)


def said(value: object) -> str:
    """Describe a value of the wrong type in the words of a file.

    >>> said("3"), said(True), said(3.7), said([1]), said({}), said(None)
    ("the text '3'", 'true', '3.7', 'a list', 'a mapping', 'null')
    """
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"the text {value[:40]!r}..."
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, int | float):
        return f"{value}" if abs(value) < _LARGEST else "a number of very many digits"
    return {list: "a list", tuple: "a list", type(None): "null"}.get(type(value), f"a {type(value).__name__}")


def wrong(message: str, fix: str, path: str = "") -> Problem:
    """Say what is wrong with the value at hand."""
    return Problem(path=path, message=message, fix=fix)


def choice_problems(value: object, choices: tuple[object, ...]) -> Iterator[Problem]:
    """Check that a value is one of the choices.

    >>> [str(problem) for problem in choice_problems("liner", ("linear", "cosine"))]
    ["must be linear or cosine, not the text 'liner' (did you mean linear?)"]
    """
    if not isinstance(value, str) or value not in choices:
        names = tuple(map(str, choices))
        near = nearest(value, names, likeness=0.6) if isinstance(value, str) else None
        fix = f"did you mean {near}?" if near else "take one of them"
        yield wrong(f"must be {' or '.join(names)}, not {said(value)}", fix)


def value_problems(value: object, kind: object, limits: Limits = Limits()) -> Iterator[Problem]:
    """Say what is wrong with a value that should be of an annotated type, within its limits.

    What cannot be told by looking is let through: type variables, protocols, and the types that stand for anything.

    >>> [str(problem) for problem in value_problems(2.5, int)]
    ['must be a whole number, not 2.5 (write a whole number)']
    >>> [str(problem) for problem in value_problems(("a", 1), tuple[str, ...])]
    ['[1]: must be a text, not 1 (put it in quotes)']
    >>> list(value_problems(1, float | None, Limits(at_least=0))), list(value_problems(None, float | None))
    ([], [])
    """
    kinds = alternatives(kind)
    wrongs = [tuple(_problems_of_kind(value, each)) for each in kinds]
    if all(wrongs):
        real = [found for each, found in zip(kinds, wrongs, strict=True) if each is not types.NoneType]
        many = f"must be {' or '.join(map(shown_kind, kinds))}, not {said(value)}"
        yield from real[0] if len(real) == 1 else (wrong(many, "give one of those"),)
    elif value is not None:
        yield from limits.violated_by(value)


def shown_kind(kind: object) -> str:
    """Write a type as a person would.

    >>> shown_kind(int | None), shown_kind(Literal["a", "b"]), shown_kind(tuple[str, ...]), shown_kind(Limits)
    ('a whole number or null', 'a or b', 'a list', 'a Limits')
    """
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return " or ".join(map(shown_kind, get_args(kind)))
    if origin is Literal:
        return " or ".join(map(str, get_args(kind)))
    if origin in _PLAIN:
        return _PLAIN[origin][0]
    named = {types.NoneType: "null", tuple: "a list"}
    is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return "a mapping" if is_mapping else named.get(origin, f"a {getattr(origin, '__name__', origin)}")


def plain_problems(value: object, kind: object) -> Iterator[Problem]:
    """Check a text, a truth value or a number.

    >>> (
    ...     [str(problem) for problem in plain_problems("3", int)],
    ...     [str(problem) for problem in plain_problems(math.nan, float)],
    ... )
    (["must be a whole number, not the text '3' (write it without quotes, as in 10, 0.5, 1e-4)"], ['must be a finite number, not nan (write a finite one)'])
    """
    name, is_one = _PLAIN[kind]
    if not is_one(value):
        yield wrong(f"must be {name}, not {said(value)}", fix_of_kind(value, kind, name))
    elif isinstance(value, Real) and not isinstance(value, Integral) and not math.isfinite(value):
        yield wrong(f"must be a finite number, not {value}", "write a finite one")


def fix_of_kind(value: object, kind: object, name: str) -> str:
    """Say how to write a plain value of another kind."""
    if isinstance(value, str) and kind in {int, float, bool}:
        return "write true or false" if kind is bool else "write it without quotes, as in 10, 0.5, 1e-4"
    is_scalar = isinstance(value, bool | int | float)
    return "put it in quotes" if kind is str and is_scalar else f"write {name}"


_PLAIN: Mapping[object, tuple[str, Callable[[object], bool]]] = {
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: isinstance(value, Integral) and not isinstance(value, bool)),
    float: ("a number", lambda value: isinstance(value, Real) and not isinstance(value, bool)),
}


def no_tuple(value: object) -> Problem:
    """Say that a value is no tuple."""
    if isinstance(value, list):  # which only Python can give: reading a file makes tuples
        return wrong("must be a tuple, not a list", "write (a, b)")
    return wrong(f"must be a list, not {said(value)}", "write a list, as in [a, b]")


def _problems_of_kind(value: object, kind: Any) -> Iterator[Problem]:  # Any: whatever stands in an annotation
    """Check a value against one type that is no union."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if isinstance(kind, NewType):
        yield from _problems_of_kind(value, kind.__supertype__)
    elif origin is Literal:
        yield from choice_problems(value, arguments)
    elif kind in _PLAIN:
        yield from plain_problems(value, kind)
    elif origin is tuple:
        yield from _tuple_problems(value, arguments)
    elif not isinstance(origin, type) or origin is object or getattr(origin, "_is_protocol", False):
        return
    elif issubclass(origin, Enum):
        yield from _member_problems(value, origin)
    elif not isinstance(value, origin) or (isinstance(value, str) and issubclass(origin, Collection)):
        yield wrong(f"must be {shown_kind(kind)}, not {said(value)}", f"give {shown_kind(kind)}")
    elif isinstance(value, Mapping) and len(arguments) == 2:
        yield from (each for key, item in value.items() for each in _item_problems(key, item, arguments))
    elif isinstance(value, Collection) and len(arguments) == 1:
        yield from (it.below(f"[{i}]") for i, item in enumerate(value) for it in value_problems(item, arguments[0]))


def _item_problems(key: object, item: object, kinds: tuple[object, ...]) -> Iterator[Problem]:
    wrong_key = next(value_problems(key, kinds[0]), None)
    if wrong_key is not None:
        yield wrong(f"the key {key!r} {wrong_key.message}", wrong_key.fix)
    else:
        yield from (problem.below(str(key)) for problem in value_problems(item, kinds[1]))


def _tuple_problems(value: object, kinds: tuple[object, ...]) -> Iterator[Problem]:
    if not isinstance(value, tuple):
        yield no_tuple(value)
        return
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if kinds and len(kinds) != len(value):
        yield wrong(f"must have {len(kinds)} items, not {len(value)}", f"give {len(kinds)}")
        return
    for index, (item, kind) in enumerate(zip(value, kinds, strict=False)):
        yield from (problem.below(f"[{index}]") for problem in value_problems(item, kind))


def _member_problems(value: object, kind: type[Enum]) -> Iterator[Problem]:
    if isinstance(value, kind):
        return
    names = {str(member.value): f"{kind.__name__}.{member.name}" for member in kind}
    near = nearest(str(value), tuple(names), likeness=0.6)
    fix = f"did you mean {names[near]}?" if near else "take one of them"
    yield wrong(f"must be {' or '.join(names.values())}, not {said(value)}", fix)
