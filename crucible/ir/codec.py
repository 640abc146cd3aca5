"""Specs to plain data and back, over cattrs (the extra `specs`).

Reading never stops at the first thing that is wrong. What cannot be read is put into the spec as it is, what is not there
as `MISSING`, and then the whole is checked as a spec made in Python is: so problems of the data and of the rules come
together, each once.
"""

import copy
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, overload

import attrs

from crucible.effects import Failure, Json, Result, Success
from crucible.fields import alternatives, field_types, said
from crucible.ir.check import MISSING, Check, is_spec
from crucible.ir.experiment import Experiment
from crucible.ir.migrations import MIGRATIONS, VERSION, migrated
from crucible.ir.places import places_of_keys
from crucible.ir.problems import InvalidSpec, Problem

if TYPE_CHECKING:
    from cattrs import Converter

S = TypeVar("S", bound=attrs.AttrsInstance)

_UNKNOWN: ContextVar[dict[int, tuple[str, ...]]] = ContextVar("crucible.ir.unknown")
"""The keys that are no fields, by the id of the spec that was read where they stood."""


def encode(spec: attrs.AttrsInstance) -> dict[str, Json]:
    """Give a spec as plain data: every field that is not None, defaults too, under the version of the schema.

    >>> from crucible.ir import ModelRef
    >>> encode(ModelRef(id="m"))
    {'schema': 1, 'id': 'm', 'provider': 'huggingface', 'options': {}}

    Raises: ImportError without the extra `specs`.
    """
    return {"schema": VERSION, **_writer().unstructure(spec)}


def encode_value(value: object) -> Json:
    """Give the plain form of the value of a field.

    >>> encode_value(("markdown", "json"))
    ['markdown', 'json']

    Raises: ImportError without the extra `specs`.
    """
    plain: Json = _writer().unstructure(value)
    return plain


@overload
def decode(data: object, *, source: str = ...) -> Result[Experiment, InvalidSpec]: ...


@overload
def decode(data: object, kind: type[S], *, source: str = ...) -> Result[S, InvalidSpec]: ...


def decode(
    data: object, kind: type[attrs.AttrsInstance] = Experiment, *, source: str = ""
) -> Result[object, InvalidSpec]:
    """Read a spec from plain data.

    >>> from crucible.ir import StageDef
    >>> decode({"schema": 1, "name": "save"}, StageDef).unwrap()
    StageDef(name='save', options={}, enabled=True)
    >>> print(decode({"schema": 1, "nam": "save", "enabled": "no"}, StageDef).failure())
    the spec has 2 problems:
      - nam: is no key that is known here (did you mean name?)
      - enabled: must be true or false, not the text 'no' (write true or false)

    Args:
        data: what `encode` gave, or a file held.
        kind: the class of the spec; an `Experiment` of an older version is brought to the newest.
        source: where the data is from, for messages.

    Fails: InvalidSpec with every problem there is.

    Raises: ImportError without the extra `specs`.
    """
    try:
        return _decode(data, kind, source)
    except RecursionError:
        problem = Problem(path="", message="is nested too deeply", fix="write it flatter")
        return Failure(InvalidSpec(problems=(problem,), source=source))


def _decode(data: object, kind: type[S], source: str) -> Result[S, InvalidSpec]:
    if not isinstance(data, Mapping):
        problem = Problem(path="", message=f"must be a mapping, not {said(data)}", fix="write keys and values")
        return Failure(InvalidSpec(problems=(problem,), source=source))
    newest = migrated(data, steps=MIGRATIONS if kind is Experiment else {})
    if isinstance(newest, Failure):
        return Failure(InvalidSpec(problems=(newest.failure(),), source=source))
    token = _UNKNOWN.set({})
    try:
        spec = _read(newest.unwrap(), kind)
        problems = tuple(Check(_UNKNOWN.get(), places_of_keys(kind)).of_spec(spec))
    finally:
        _UNKNOWN.reset(token)
    if problems:
        return Failure(InvalidSpec(problems=problems, source=source))
    assert isinstance(spec, kind)
    return Success(spec)


def _read(data: object, kind: type[attrs.AttrsInstance]) -> object:
    """Make a spec; data that is no mapping stays as it is."""
    if not isinstance(data, Mapping):
        return data
    fields = {field.name: field for field in attrs.fields(kind)}
    types = field_types(kind)
    values = {name: _structured(data[name], types[name]) for name in fields if name in data}
    missing = {name: MISSING for name, field in fields.items() if field.default is attrs.NOTHING and name not in data}
    spec = kind(**missing, **{name: value for name, value in values.items() if fields[name].init})
    for name in (name for name in values if not fields[name].init):
        object.__setattr__(spec, name, values[name])  # what it says is checked as all else is
    unknown = tuple(str(key) for key in data if key not in fields)
    if unknown:
        _UNKNOWN.get()[id(spec)] = unknown
    return spec


def _structured(data: object, kind: Any) -> object:
    return _reader().structure(data, kind)


def _read_union(data: object, kind: object) -> object:
    if data is None:
        return data
    kinds = [it for it in alternatives(kind) if it is not type(None)]
    chosen = kinds if len(kinds) == 1 else [it for it in kinds if is_spec(it) and _has_method(data, it)]
    return _structured(data, chosen[0]) if chosen else data


def _read_tuple(data: object, kind: object) -> object:
    if not isinstance(data, list | tuple):
        return data
    return tuple(_structured(item, get_args(kind)[0]) for item in data)


def _is_anything(kind: object) -> bool:
    return True


def _is_union(kind: object) -> bool:
    return len(alternatives(kind)) > 1


def _is_tuple(kind: object) -> bool:
    return get_origin(kind) is tuple


def _has_method(data: object, kind: object) -> bool:
    method = data.get("method") if isinstance(data, Mapping) else None
    return isinstance(method, str) and isinstance(kind, type) and method in get_args(field_types(kind)["method"])


def _as_float(data: object, kind: object) -> object:
    return float(data) if type(data) is int and abs(data) < 2**63 else data


def _as_datetime(data: object, kind: object) -> object:
    if not isinstance(data, str):
        return data
    try:
        return datetime.fromisoformat(data)
    except ValueError:
        return data


def _as_it_is(data: object, kind: object) -> object:
    return copy.deepcopy(data)


def _converter() -> "Converter":
    try:
        from cattrs import Converter  # noqa: PLC0415  # the specs themselves do without it
    except ImportError as error:
        raise ImportError("cattrs is not installed: pip install 'crucible-llm[specs]'") from error
    return Converter()


@cache
def _reader() -> "Converter":
    """Make the converter that reads."""
    converter = _converter()
    converter.register_structure_hook_func(_is_anything, _as_it_is)
    for kind in (str, bool, int):  # cattrs would make 3 of "3", and 3 of 3.7
        converter.register_structure_hook(kind, _as_it_is)
    converter.register_structure_hook(float, _as_float)
    converter.register_structure_hook(datetime, _as_datetime)
    converter.register_structure_hook_func(_is_union, _read_union)
    converter.register_structure_hook_func(_is_tuple, _read_tuple)
    converter.register_structure_hook_func(is_spec, _read)
    return converter


@cache
def _writer() -> "Converter":
    """Make the converter that writes: every field that is not None, the method first."""
    converter = _converter()

    def write(spec: attrs.AttrsInstance) -> dict[str, object]:
        values = {field.name: getattr(spec, field.name) for field in attrs.fields(type(spec))}
        first = ("method",) if "method" in values else ()
        return {
            name: converter.unstructure(values[name])
            for name in (*first, *(name for name in values if name not in first))
            if values[name] is not None
        }

    converter.register_unstructure_hook_func(_is_anything, copy.deepcopy)
    converter.register_unstructure_hook_func(
        lambda kind: kind is tuple, lambda value: list(map(converter.unstructure, value))
    )
    converter.register_unstructure_hook_func(lambda kind: kind is datetime, datetime.isoformat)
    converter.register_unstructure_hook_func(is_spec, write)
    return converter
