"""What may stand in a single field: plain values, choices and free mappings, and how to speak of those that may not."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import get_args, get_origin

import attrs

from crucible.fields import Problem, fix_of_kind, nearest, said, wrong

_LARGEST = 2**63


def step(key: str) -> str:
    """Write a key as a step of a path.

    >>> step("epochs"), step("a.b")
    ('epochs', '["a.b"]')
    """
    return key if re.fullmatch(r"[\w-]+", key) else f'["{key}"]'


def unknown_key(key: str, known: tuple[str, ...], *, meant: str | None = None, elsewhere: str | None = None) -> Problem:
    """Say that there is no such key, and which one was probably meant.

    >>> print(unknown_key("epoch", ("epochs", "lora")))
    epoch: is no key that is known here (did you mean epochs?)

    Args:
        key: that there is not.
        known: those that there are.
        meant: the one that was meant, where none is like it.
        elsewhere: where a key of that name stands.
    """
    near = nearest(key, known) or meant
    there = f"there is {elsewhere}" if elsewhere else f"leave it out; there are: {', '.join(known)}"
    fix = f"did you mean {near}?" if near else there
    return wrong("is no key that is known here", fix, step(key))


def leaf_problems(value: object, kind: object) -> Iterator[Problem]:
    """Check a value that is no spec and no list against its type."""
    if get_origin(kind) is not None and issubclass(get_origin(kind) or object, Mapping):
        yield from _mapping(value, get_args(kind)[1])
    elif isinstance(kind, type) and kind not in _LEAVES and kind is not datetime:
        yield wrong(f"must be a mapping, not {said(value)}", _as_mapping(value, kind))
    elif kind is datetime:
        if not isinstance(value, datetime):
            yield wrong(f"must be a date and a time, not {said(value)}", "write it as 2026-01-31T12:00:00+00:00")
        elif value.utcoffset() is None:
            yield wrong("must have a time zone", "add one, such as +00:00")
    else:
        name, is_one = _LEAVES[kind]
        if not is_one(value):
            yield wrong(f"must be {name}, not {said(value)}", fix_of_kind(value, kind, name))
        else:
            yield from _writable(value)


_LEAVES: Mapping[object, tuple[str, Callable[[object], bool]]] = {
    str: ("a text", lambda value: type(value) is str),
    bool: ("true or false", lambda value: type(value) is bool),
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in {int, float}),
}


def _as_mapping(value: object, kind: type) -> str:
    """Say how to write as a mapping what is there: a text that could be the one key that a spec needs, under that key."""
    is_a_word = isinstance(value, str) and re.fullmatch(r"[\w./-]+", value) is not None
    written = _under_its_key(str(value), kind) if is_a_word else None
    return "give its keys" if written is None else f"write {written}"


def _under_its_key(word: str, kind: type) -> str | None:
    """Write a word as the spec whose only needed key it can be."""
    needed = [field for field in attrs.fields(kind) if field.default is attrs.NOTHING] if attrs.has(kind) else []
    if len(needed) != 1:
        return None
    inner = needed[0].type
    written = word if inner is str or word in get_args(inner) else _under_its_key(word, inner) if inner else None
    return None if written is None else f"{{{needed[0].name}: {written}}}"


def _writable(value: object) -> Iterator[Problem]:
    """Check that files can hold a plain value."""
    if isinstance(value, float) and not math.isfinite(value):
        yield wrong(f"must be a finite number, not {value}", "write a finite one")
    elif isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        yield wrong("must fit into 64 bits", "take a smaller number, or write it as text")
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield wrong("holds half a character (a lone surrogate), which no file can", "leave it out")


def _mapping(value: object, kind: object) -> Iterator[Problem]:
    if type(value) is not dict and not isinstance(value, Mapping):
        yield wrong(f"must be a mapping, not {said(value)}", "give keys and values")
        return
    for key, item in value.items():
        if type(key) is not str:
            yield wrong(f"the key {key!r} must be a text", "put it in quotes")
            continue
        problems = leaf_problems(item, kind) if kind in _LEAVES else _plain(item)
        yield from (problem.below(step(key)) for problem in (*_writable(key), *problems))


def _plain(value: object) -> Iterator[Problem]:
    """Check that a value is plain data, which comes back from a file as it was."""
    if type(value) is dict:
        yield from _mapping(value, object)
    elif type(value) is list:
        for index, item in enumerate(value):
            yield from (problem.below(f"[{index}]") for problem in _plain(item))
    elif value is not None and type(value) not in _LEAVES:
        yield wrong(f"must be plain data, not {said(value)}: {type(value).__name__}", "write it as text")
    else:
        yield from _writable(value)
