"""What something is made of, as plain values that can be compared: fields, the variables of closures, and what stands in them."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import attrs

from crucible.ir import Experiment


def parts(value: Any, seen: dict[int, object] | None = None) -> object:
    """Give the parts of a value, each once; a whole experiment within it is left out, as to hold one is not to act on it."""
    seen = {} if seen is None else seen
    if isinstance(value, str | int | float | bytes | Path | Enum | type | ModuleType | datetime | None):
        return repr(value)
    if id(value) in seen or isinstance(value, Experiment):
        return type(value).__name__
    seen[id(value)] = value
    if isinstance(value, Mapping):
        return [(parts(key, seen), parts(item, seen)) for key, item in value.items()]
    if isinstance(value, tuple | list):
        return [parts(item, seen) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return (getattr(value, "__qualname__", type(value).__qualname__), [parts(item, seen) for item in _held(value)])


def _held(value: Any) -> list[object]:
    """Give what a function or an object holds."""
    if isinstance(value, FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return [value.__defaults__, value.__kwdefaults__, value.__dict__, *cells]
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    if attrs.has(type(value)):
        return [(it.name, getattr(value, it.name, None)) for it in attrs.fields(type(value))]
    slots = [name for each in type(value).__mro__ for name in getattr(each, "__slots__", ())]
    return [getattr(value, "__dict__", {}), [(name, getattr(value, name, None)) for name in slots]]


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # empty as yet
        return None
