"""One field of a configuration or a spec at a time, changed to other values that its own type and limits allow."""

from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs

from crucible.fields import alternatives, field_types, limits_of


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the paths of all fields of a configuration, nested ones too; `[0]` is the first of a list of specs."""
    for field in attrs.fields(type(value)):
        inner = getattr(value, field.name)
        if field.init:
            yield (*path, field.name)
        if attrs.has(type(inner)):
            yield from leaves(inner, (*path, field.name))
        if isinstance(inner, tuple) and inner and attrs.has(type(inner[0])):
            yield from leaves(inner[0], (*path, field.name, "[0]"))


def others(value: Any, kind: Any) -> Iterator[object]:
    """Give other values of a type."""
    for it in alternatives(kind):
        if it is NoneType and value is not None:
            yield None
        elif it is bool:
            yield not value
        elif it is int:
            yield from ((2, 1) if value is None else (value + 1, value + 100, value - 1))
        elif it is float:
            yield from ((0.5,) if value is None else (value * 0.5 or 0.3, value + 0.2))
        elif it is str:
            yield "other" if value is None else f"{value}x"
        elif get_origin(it) is Literal:
            yield from (choice for choice in get_args(it) if choice != value)
        elif isinstance(it, type) and issubclass(it, Enum):
            yield from (choice for choice in it if choice is not value)
        elif get_origin(it) is tuple:
            yield from _other_lists(value or (), get_args(it)[0])
        elif get_origin(it) is Mapping:
            yield {**(value or {}), "other": next(others(None, get_args(it)[1]), "more")}
        elif isinstance(it, type) and attrs.has(it) and value is None:
            yield made(it)  # any other is changed field by field


def _other_lists(value: tuple[object, ...], kind: Any) -> Iterator[object]:
    yield from ((value[:-1], (*value, *value)) if value else ())
    more = [made(kind)] if attrs.has(kind) else [one for one in others(None, kind) if one not in value]
    yield from ((*value, one) for one in (more if get_origin(kind) is Literal else more[-1:]))


def made(kind: type) -> object:
    """Make the plainest value of a class, of what it must be given."""
    types, needed = field_types(kind), [it for it in attrs.fields(kind) if it.default is attrs.NOTHING]
    values = {it.name: next(others(None, types[it.name])) for it in needed}
    return kind(**values | ({"split": "test"} if hasattr(kind, "split") else {}))


def at(config: Any, path: tuple[str, ...]) -> Any:
    """Give what stands at a path."""
    for name in path:
        config = config[0] if name == "[0]" else getattr(config, name)
    return config


def changed(config: Any, path: tuple[str, ...], value: object) -> Any:
    """Give a configuration with another value at a path."""
    name, *rest = path
    if name == "[0]":
        return (changed(config[0], tuple(rest), value), *config[1:])
    inner = changed(getattr(config, name), tuple(rest), value) if rest else value
    return attrs.evolve(config, **{name: inner})


def variants(config: Any, path: tuple[str, ...]) -> Iterator[tuple[object, Any]]:
    """Give each other value of a field that its own type and limits allow, with the configuration that has it."""
    owner: Any = at(config, path[:-1])
    kind: type = type(owner)
    now = getattr(owner, path[-1])
    limits = limits_of(getattr(attrs.fields(kind), path[-1]))
    for value in (other for other in others(now, field_types(kind)[path[-1]]) if other != now):
        if any(limits.violated_by(value)):
            continue
        try:
            yield value, changed(config, path, value)
        except ValueError:  # a validator
            continue


def is_one_of_many(config: Any, path: tuple[str, ...]) -> bool:
    """Tell whether a field holds one of many: two that are close may come to the same, as with batches larger than the data.

    So may what is chosen where nothing is, and one of the choices; or a list of choices, one of which is made anyway.
    """
    owner: Any = at(config, path[:-1])
    kind: type = type(owner)
    value = getattr(owner, path[-1])
    forms = [form for it in alternatives(field_types(kind)[path[-1]]) for form in (it, *get_args(it))]
    is_choice = (value is None or value == ()) and any(get_origin(form) is Literal for form in forms)
    return is_choice or (isinstance(value, int | float | Enum) and not isinstance(value, bool))
