"""What of a run's state its checkpoints keep: each field that counts or adds up as the run goes on, as JSON.

A field says so itself: `attrs.field(default=0.0, metadata=KEPT)`. Nothing else has to be told of it.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Union, get_args, get_origin

import attrs

from crucible.effects import Failure, Result, Success

if TYPE_CHECKING:
    from attrs import AttrsInstance

KEPT: Mapping[str, bool] = MappingProxyType({"crucible.kept": True})


def names_kept(kind: "type[AttrsInstance]") -> tuple[str, ...]:
    """Give the names of the fields that are kept."""
    return tuple(field.name for field in _fields(kind))


def keep(state: "AttrsInstance") -> dict[str, str]:
    """Write the fields that are kept, each as JSON; floats are exact, NaN and the infinities too.

    >>> @attrs.frozen
    ... class Walk:
    ...     place: str
    ...     metres: float = attrs.field(default=0.0, metadata=KEPT)
    >>> keep(Walk(place="here", metres=0.1))
    {'metres': '0.1'}
    """
    return {field.name: json.dumps(getattr(state, field.name)) for field in _fields(type(state))}


def read_kept(kind: "type[AttrsInstance]", kept: Mapping[str, str]) -> Result[dict[str, object], str]:
    """Read what was kept, by the names of the fields; one of which nothing was kept is left out.

    Fails: with what cannot be read.
    """
    found: dict[str, object] = {}
    for field in _fields(kind):
        if field.name in kept:
            try:
                found[field.name] = _read(field.type, json.loads(kept[field.name]))
            except (ValueError, TypeError):
                return Failure(f"{field.name} is {kept[field.name]!r}")
    return Success(found)


def _fields(kind: "type[AttrsInstance]") -> "list[attrs.Attribute[object]]":
    return [field for field in attrs.fields(kind) if field.metadata.get("crucible.kept")]


def _read(kind: object, value: object) -> object:
    """Give a JSON value as a field of this kind holds it.

    Raises: TypeError where it holds no such value.
    """
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        fitting = [one for one in arguments if isinstance(one, type) and type(value) is one]
        return _read((fitting or [one for one in arguments if one is not type(None)])[0], value)
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: _read(arguments[1], one) for key, one in value.items()}
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], one) for one in value)
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind}")
    return value
