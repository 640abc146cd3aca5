"""Values to JSON and back, exactly: what a journal keeps is what the program gets again.

Floats keep their bits (NaN, infinities and -0.0 included), tuples stay tuples, frozen attrs values keep their class.
"""

import base64
import hashlib
import importlib
import json
import math
import struct
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import TypeAlias

import attrs
from returns.result import Failure, Success

Json: TypeAlias = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class UnrecordableError(TypeError):
    """A value that a journal cannot hold."""


def encode(value: object) -> Json:
    """Give the JSON form of `value`.

    >>> encode((1, float("inf")))
    {'$tuple': [1, {'$float': '7ff0000000000000'}]}
    >>> decode(encode({"a": (1, b"x", -0.0)}))
    {'a': (1, b'x', -0.0)}

    Raises: UnrecordableError for a value of another kind than JSON's own, attrs classes, enums, dates, paths and bytes.
    """
    if value is None or isinstance(value, bool | str) and not isinstance(value, Enum):
        return value
    encoder = next((encoder for kind, encoder in _ENCODERS if isinstance(value, kind)), None)
    if encoder is not None:
        return encoder(value)
    kind = type(value)
    if attrs.has(kind):
        fields = {field.alias: encode(getattr(value, field.name)) for field in attrs.fields(kind) if field.init}
        return {"$attrs": _class_name(kind), **fields}
    raise UnrecordableError(f"cannot record a {type(value).__qualname__}: make it a frozen attrs class of plain values")


def decode(data: Json) -> object:
    """Give the value that `encode` made `data` of.

    Raises: UnrecordableError when a class named in it is not an attrs class or enum of an imported module.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if tag == "$attrs":
        fields = {name: decode(item) for name, item in data.items() if name != tag}
        return _class_named(data[tag])(**fields)
    if tag in _DECODERS:
        return _DECODERS[tag](data[tag])
    return {key: decode(item) for key, item in data.items()}


def digest(value: object) -> str:
    """Give a short fingerprint of `value`: equal values have equal ones, in every process.

    >>> digest((1, "a")) == digest((1, "a")), digest((1, "a")) == digest([1, "a"])
    (True, False)
    """
    text = json.dumps(encode(value), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _encode_float(value: float) -> Json:
    return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}


def _encode_mapping(value: dict[object, object]) -> Json:
    plain = {key: encode(item) for key, item in value.items() if isinstance(key, str) and not key.startswith("$")}
    if len(plain) == len(value):
        return {**plain}
    return {"$map": [[encode(key), encode(item)] for key, item in value.items()]}


def _encode_set(value: frozenset[object]) -> Json:
    return sorted((encode(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))


_ENCODERS: tuple[tuple[type, Callable[..., Json]], ...] = (
    (Enum, lambda value: {"$enum": [_class_name(type(value)), value.name]}),
    (int, int),
    (float, _encode_float),
    (list, lambda value: [encode(item) for item in value]),
    (tuple, lambda value: {"$tuple": [encode(item) for item in value]}),
    (dict, _encode_mapping),
    (bytes, lambda value: {"$bytes": base64.b64encode(value).decode()}),
    (frozenset, lambda value: {"$frozenset": _encode_set(value)}),
    (set, lambda value: {"$set": _encode_set(value)}),
    (datetime, lambda value: {"$datetime": value.isoformat()}),
    (date, lambda value: {"$date": value.isoformat()}),
    (timedelta, lambda value: {"$seconds": value.total_seconds()}),
    (Path, lambda value: {"$path": str(value)}),
    (Success, lambda value: {"$success": encode(value.unwrap())}),
    (Failure, lambda value: {"$failure": encode(value.failure())}),
)

_DECODERS: dict[str, Callable[..., object]] = {
    "$enum": lambda data: _class_named(data[0])[data[1]],  # type: ignore[index]  # an Enum class
    "$float": lambda data: struct.unpack(">d", bytes.fromhex(data))[0],
    "$tuple": lambda data: tuple(map(decode, data)),
    "$map": lambda data: {decode(key): decode(item) for key, item in data},
    "$bytes": base64.b64decode,
    "$frozenset": lambda data: frozenset(map(decode, data)),
    "$set": lambda data: set(map(decode, data)),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$seconds": lambda data: timedelta(seconds=data),
    "$path": Path,
    "$success": lambda data: Success(decode(data)),
    "$failure": lambda data: Failure(decode(data)),
}


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _class_named(name: Json) -> type:
    """Find an attrs class or enum; only modules already imported, or our own, are looked at."""
    module_name, _, qualname = str(name).partition(":")
    if module_name.startswith("crucible."):
        importlib.import_module(module_name)
    found: object = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and (attrs.has(found) or issubclass(found, Enum)):
        return found
    raise UnrecordableError(f"cannot read a {name} back: import {module_name} first, where that attrs class is defined")
