"""Values to JSON and back, exactly: what a journal keeps is what the program gets again.

Floats keep their bits (NaN, infinities and -0.0 included), tuples stay tuples, frozen attrs values keep their class. Only
two things are made plain: a library's own number (`numpy.float64`) comes back as Python's, and a time zone as its offset.
"""

import base64
import hashlib
import importlib
import json
import math
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from enum import Enum, Flag
from pathlib import Path
from typing import TypeAlias

import attrs
from returns.result import Failure, Success

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


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
    encoder = _ENCODERS.get(type(value))
    return _encode_other(value) if encoder is None else encoder(value)


def decode(data: Json) -> object:
    """Give the value that `encode` made `data` of.

    Raises: UnrecordableError for a tag or a class that is not known here.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if not tag.startswith("$"):
        return {key: decode(item) for key, item in data.items()}
    if tag == "$attrs":
        fields = {name: decode(item) for name, item in data.items() if name != tag}
        return _class_named(data[tag])(**fields)
    if tag not in _DECODERS:
        raise UnrecordableError(f"cannot read {tag!r} back: a newer version of crucible wrote it")
    return _DECODERS[tag](data[tag])


def digest(value: object) -> str:
    """Give a short fingerprint of `value`: equal values have equal ones, in every process.

    >>> digest((1, "a")) == digest((1, "a")), digest((1, "a")) == digest([1, "a"])
    (True, False)
    """
    data = encode(value)
    text = _text(data)
    if '"$map"' in text:
        text = _text(_without_order(data))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _text(data: Json) -> str:
    return json.dumps(data, sort_keys=True, allow_nan=False, separators=(",", ":"))


def _without_order(data: Json) -> Json:
    """Sort the pairs of every `$map`: equal dicts may have been filled in another order."""
    if isinstance(data, list):
        return [_without_order(item) for item in data]
    if not isinstance(data, dict):
        return data
    inner = {key: _without_order(item) for key, item in data.items()}
    pairs = inner.get("$map")
    return {"$map": sorted(pairs, key=_text)} if isinstance(pairs, list) else inner


def _itself(value: Json) -> Json:
    return value


def _encode_int(value: int) -> Json:
    return value if value.bit_length() < 10_000 else {"$int": hex(value)}  # Python reads no longer decimals


def _encode_float(value: float) -> Json:
    return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}


def _encode_mapping(value: dict[object, object]) -> Json:
    plain = {key: encode(item) for key, item in value.items() if type(key) is str and not key.startswith("$")}
    if len(plain) == len(value):
        return {**plain}
    return {"$map": [[encode(key), encode(item)] for key, item in value.items()]}


def _encode_set(value: frozenset[object]) -> Json:
    return sorted((encode(item) for item in value), key=_text)


def _encode_other(value: object) -> Json:
    """Encode what is known by its base class; other subclasses of plain kinds would come back as another class."""
    kind = type(value)
    if isinstance(value, Enum):
        member = value.value if isinstance(value, Flag) else value.name
        return {"$flag" if isinstance(value, Flag) else "$enum": [_class_name(kind), member]}
    if attrs.has(kind):
        fields = {field.alias: encode(getattr(value, field.name)) for field in attrs.fields(kind) if field.init}
        return {"$attrs": _class_name(kind), **fields}
    if isinstance(value, Path):
        return {"$path": str(value)}
    for plain in (int, float, str):
        if isinstance(value, plain):
            return encode(plain(value))
    raise UnrecordableError(f"cannot record a {kind.__qualname__}: make it a frozen attrs class of plain values")


_ENCODERS: dict[type, Callable[..., Json]] = {
    type(None): _itself,
    bool: _itself,
    str: _itself,
    int: _encode_int,
    float: _encode_float,
    list: lambda value: [encode(item) for item in value],
    tuple: lambda value: {"$tuple": [encode(item) for item in value]},
    dict: _encode_mapping,
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    frozenset: lambda value: {"$frozenset": _encode_set(value)},
    set: lambda value: {"$set": _encode_set(value)},
    datetime: lambda value: {"$datetime": [value.isoformat(), value.fold]},
    date: lambda value: {"$date": value.isoformat()},
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    Success: lambda value: {"$success": encode(value.unwrap())},
    Failure: lambda value: {"$failure": encode(value.failure())},
}

_DECODERS: dict[str, Callable[..., object]] = {
    "$enum": lambda data: _class_named(data[0])[data[1]],  # type: ignore[index]  # an Enum class
    "$flag": lambda data: _class_named(data[0])(data[1]),
    "$int": lambda data: int(data, 16),
    "$float": lambda data: struct.unpack(">d", bytes.fromhex(data))[0],
    "$tuple": lambda data: tuple(map(decode, data)),
    "$map": lambda data: {decode(key): decode(item) for key, item in data},
    "$bytes": base64.b64decode,
    "$frozenset": lambda data: frozenset(map(decode, data)),
    "$set": lambda data: set(map(decode, data)),
    "$datetime": lambda data: datetime.fromisoformat(data[0]).replace(fold=data[1]),
    "$date": date.fromisoformat,
    "$timedelta": lambda data: timedelta(*data),
    "$path": Path,
    "$success": lambda data: Success(decode(data)),
    "$failure": lambda data: Failure(decode(data)),
}


def _class_name(cls: type) -> str:
    if "<locals>" in cls.__qualname__:
        raise UnrecordableError(f"cannot record a {cls.__qualname__}: define the class at the top of its module")
    return f"{cls.__module__}:{cls.__qualname__}"


def _class_named(name: Json) -> type:
    """Find an attrs class or enum; only modules already imported, or our own, are looked at."""
    module_name, _, qualname = str(name).partition(":")
    if module_name.startswith("crucible."):
        with suppress(ModuleNotFoundError):
            importlib.import_module(module_name)
    found: object = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and (attrs.has(found) or issubclass(found, Enum)):
        return found
    raise UnrecordableError(f"cannot read a {name} back: import {module_name} first, where that attrs class is defined")
