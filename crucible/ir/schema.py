"""`json_schema`: what an editor needs to complete and check a spec while it is written (JSON Schema, draft 2020-12)."""

import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, get_args, get_origin

import attrs

from crucible.effects import Json
from crucible.fields import alternatives, field_types
from crucible.ir.check import is_spec
from crucible.ir.codec import encode_value
from crucible.ir.experiment import Experiment
from crucible.ir.migrations import VERSION
from crucible.ir.rules import Limits, limits_of

_LEAVES: Mapping[object, dict[str, Json]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time", "pattern": r"([Zz]|[+-]\d\d:?\d\d(:?\d\d(\.\d+)?)?)$"},
}


def json_schema(kind: type[attrs.AttrsInstance] = Experiment) -> dict[str, Json]:
    """Give the schema of the files of a class of specs.

    What is right by it has the right keys, types, choices and limits. Rules on several fields are left to `problems_of`.

    >>> from crucible.ir import StageDef
    >>> sorted(json_schema(StageDef)["properties"])
    ['enabled', 'name', 'options', 'schema']

    Raises: ImportError without the extra `specs`.
    """
    definitions: dict[str, dict[str, Json]] = {}
    waiting = [kind]
    while waiting:
        it = waiting.pop()
        if it.__name__ not in definitions:
            definitions[it.__name__] = _object(it)
            waiting.extend(_specs_in(it))
    whole = _object(kind)
    properties, required = whole["properties"], whole["required"]
    assert isinstance(properties, dict)
    assert isinstance(required, list)
    version: Json = {"const": VERSION, "description": "The version of the form of this file."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "properties": {"schema": version, **properties},
        "required": ["schema", *required],
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def _specs_in(kind: type) -> Iterator[type[attrs.AttrsInstance]]:
    """Give the classes of specs that the fields of one hold."""
    for field_type in field_types(kind).values():
        for it in alternatives(field_type):
            inner = get_args(it)[0] if get_origin(it) is tuple else it
            if isinstance(inner, type) and attrs.has(inner):
                yield inner


def _object(kind: type[attrs.AttrsInstance]) -> dict[str, Json]:
    """Describe the mapping that a spec is in a file."""
    told = _told(kind)
    properties: dict[str, Json] = {}
    for field in attrs.fields(kind):
        properties[field.name] = {
            **_type(field_types(kind)[field.name], limits_of(field)),
            **({"description": told[field.name]} if field.name in told else {}),
            **_default(field),
        }
    return {
        "title": kind.__name__,
        "description": told[""],
        "type": "object",
        "properties": properties,
        "required": [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING],
        "additionalProperties": False,
    }


def _default(field: "attrs.Attribute[object]") -> dict[str, Json]:
    if field.default is attrs.NOTHING or field.default is None or not field.init:
        return {}
    factory = getattr(field.default, "factory", None)
    return {"default": encode_value(field.default if factory is None else factory())}


def _type(kind: object, limits: Limits = Limits()) -> dict[str, Json]:
    """Describe a value of a type."""
    kinds = [it for it in alternatives(kind) if it is not type(None)]
    described = _one_of(kinds) if len(kinds) > 1 and all(map(is_spec, kinds)) else _single(kinds[0], limits)
    return {"anyOf": [described, {"type": "null"}]} if len(kinds) < len(alternatives(kind)) else described


def _one_of(kinds: list[object]) -> dict[str, Json]:
    """Describe one of several specs, told apart by their method."""
    methods: list[Json] = [name for kind in kinds for name in get_args(_method(kind))]
    refs: list[Json] = [_ref(kind) for kind in kinds]
    return {"type": "object", "required": ["method"], "properties": {"method": {"enum": methods}}, "oneOf": refs}


def _method(kind: object) -> object:
    return field_types(kind)["method"] if isinstance(kind, type) else None


def _ref(kind: object) -> dict[str, Json]:
    assert isinstance(kind, type)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _single(kind: object, limits: Limits) -> dict[str, Json]:
    origin, arguments = get_origin(kind), get_args(kind)
    if is_spec(kind):
        return _ref(kind)
    if origin is Literal:
        return {"const": arguments[0]} if len(arguments) == 1 else {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0]), **_list_limits(limits)}
    if origin is not None:
        values = _LEAVES.get(arguments[1])
        return {"type": "object", **({} if values is None else {"additionalProperties": values})}
    return {**_LEAVES[kind], **(_text_limits(limits) if kind is str else _number_limits(limits))}


def _number_limits(limits: Limits) -> dict[str, Json]:
    bounds: dict[str, Json] = {
        "minimum": limits.at_least,
        "exclusiveMinimum": limits.above,
        "maximum": limits.at_most,
        "exclusiveMaximum": limits.below,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _text_limits(limits: Limits) -> dict[str, Json]:
    pattern: dict[str, Json] = {} if limits.pattern is None else {"pattern": f"^(?:{limits.pattern})$"}
    return {**({"minLength": limits.min_length} if limits.min_length else {}), **pattern}


def _list_limits(limits: Limits) -> dict[str, Json]:
    unique: dict[str, Json] = {"uniqueItems": True} if limits.unique else {}
    return {**({"minItems": limits.min_length} if limits.min_length else {}), **unique}


def _told(kind: type) -> dict[str, str]:
    """Give what the docstrings of a class and its bases say: of the class itself under "", of each argument by its name."""
    told: dict[str, str] = {}
    for it in reversed(kind.__mro__):
        text = inspect.cleandoc(it.__dict__.get("__doc__") or "")
        if attrs.has(it) and text:
            told[""] = text.partition("\n")[0]
            told.update(_arguments(text))
    return told


def _arguments(docstring: str) -> Iterator[tuple[str, str]]:
    r"""Read the arguments that a docstring explains.

    >>> list(_arguments("What.\n\nArgs:\n    a: the first\n        of them.\n    b: the other."))
    [('a', 'the first of them.'), ('b', 'the other.')]
    """
    section = docstring.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for argument in re.split(r"\n(?=    \w)", "\n" + section)[1:]:
        name, _, text = argument.strip().partition(": ")
        yield name, re.sub(r"\s+", " ", text)
