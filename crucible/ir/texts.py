"""Texts to plain data and back: JSON, YAML and TOML, all of them strict."""

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Failure, Json, Result, Success
from crucible.ir.leaves import step
from crucible.ir.problems import Problem, UnreadableError, joined
from crucible.ir.yaml_text import read_yaml, write_yaml

Format: TypeAlias = Literal["json", "toml", "yaml"]
"""What a spec can be written in."""

_ENDINGS: Mapping[str, Format] = {".json": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}


def format_of(name: str) -> Result[Format, Problem]:
    """Tell the format by the ending of a file's name.

    >>> format_of("run.yml").unwrap()
    'yaml'

    Fails: Problem for an ending that is not known.
    """
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    if ending in _ENDINGS:
        return Success(_ENDINGS[ending])
    message = f"the name of the file must end in {', '.join(_ENDINGS)}"
    return Failure(Problem(path="", message=message, fix=f"rename {name}"))


def parse(text: str, form: Format) -> Result[object, Problem]:
    """Read plain data from a text.

    >>> parse('{"epochs": 1, "epochs": 2}', "json").failure().message
    "is no JSON that is read here: the key 'epochs' is there twice"

    Fails: Problem when the text is not in that format.

    Raises: ImportError without the extra `specs`.
    """
    try:
        return Success(_formats()[form].read(text))
    except UnreadableError as error:
        return Failure(Problem(path="", message=str(error), fix=error.fix))
    except RecursionError:
        return Failure(Problem(path="", message="is nested too deeply", fix="write it flatter"))


def render(data: Mapping[str, Json], form: Format) -> Result[str, Problem]:
    """Write plain data as a text.

    >>> print(render({"id": "a", "tags": ["b"]}, "toml").unwrap(), end="")
    id = "a"
    tags = [
        "b",
    ]

    Fails: Problem for what the format has no word for.

    Raises: ImportError without the extra `specs`.
    """
    null = next(_nulls(data), None) if form == "toml" else None
    if null is not None:
        return Failure(Problem(path=null, message="TOML has no null", fix="leave it out, or write JSON or YAML"))
    return Success(_formats()[form].write(data))


def _nulls(data: object) -> Iterator[str]:
    """Give the paths of what is None."""
    if data is None:
        yield ""
    elif isinstance(data, Mapping):
        yield from (joined(step(key), rest) for key, item in data.items() for rest in _nulls(item))
    elif isinstance(data, list):
        yield from (joined(f"[{index}]", rest) for index, item in enumerate(data) for rest in _nulls(item))


@attrs.frozen
class _Codec:
    read: Callable[[str], object]
    write: Callable[[Mapping[str, Json]], str]


def _formats() -> Mapping[Format, _Codec]:
    return {
        "json": _Codec(_read_json, _write_json),
        "toml": _Codec(_read_toml, _write_toml),
        "yaml": _Codec(read_yaml, write_yaml),
    }


def _read_json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is no JSON: line {error.lineno}: {error.msg}", "") from error
    except ValueError as error:  # a number of very many digits
        raise UnreadableError(f"is no JSON that is read here: {error}", "") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UnreadableError(f"is no JSON that is read here: the key {twice!r} is there twice", "keep one of them")
    return values


def _no_constant(name: str) -> object:
    raise UnreadableError(f"is no JSON: {name} is no number", "write a finite number")


def _write_json(data: Mapping[str, Json]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UnreadableError(f"is no TOML: {error}", "") from error


def _write_toml(data: Mapping[str, Json]) -> str:
    try:
        import tomli_w  # noqa: PLC0415  # the specs themselves do without it
    except ImportError as error:
        raise ImportError("tomli_w is not installed: pip install 'crucible-llm[specs]'") from error
    return tomli_w.dumps(data)
