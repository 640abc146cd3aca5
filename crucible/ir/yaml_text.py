"""YAML as specs use it: plain data and nothing that surprises.

Scalars are read by the core schema of YAML 1.2: `1e-4` is a number, `no` and `2026-01-31` are texts. What 1.1 and 1.2 read as
different numbers (`0755`) is refused, and so are tags, anchors, merges and keys that are there twice. What is written is
read the same by 1.1 too.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, ClassVar

from crucible.effects import Json
from crucible.ir.problems import UnreadableError

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*|0[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_SCALARS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))
_BREAKS = re.compile("[\x85\u2028\u2029]")
"""Ends of lines to some readers, which only double quotes keep."""

_LEADING_ZERO = re.compile(r"^[-+]?0[0-9]+$")


def read_yaml(text: str) -> object:
    r"""Read a document.

    >>> read_yaml("rate: 1e-4\nuse: no\nday: 2026-01-31")
    {'rate': 0.0001, 'use': 'no', 'day': '2026-01-31'}

    Raises: UnreadableError with the line; ImportError without the extra `specs`.
    """
    yaml = _yaml()
    try:
        return yaml.load(text, Loader=_loader())  # a subclass of SafeLoader that reads less
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise UnreadableError(f"is no YAML that is read here: {where}{error.problem}", error.note or "") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableError(f"is no YAML: {error}", "") from error


def write_yaml(data: Mapping[str, Json]) -> str:
    """Write a document; its keys keep their order.

    >>> print(write_yaml({"rate": 1e-4, "use": "no", "tags": ["a"]}), end="")
    rate: 0.0001
    use: 'no'
    tags:
    - a

    Raises: ImportError without the extra `specs`.
    """
    text = _yaml().dump(data, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)
    assert isinstance(text, str)
    return text


def _yaml() -> ModuleType:
    try:
        import yaml  # noqa: PLC0415  # the specs themselves do without it
    except ImportError as error:
        raise ImportError("PyYAML is not installed: pip install 'crucible-llm[specs]'") from error
    return yaml


@cache
def _loader() -> Any:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]  # the module comes in when it is needed
        """Reads the core schema, and refuses what is more than data."""

        yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

        def compose_node(self, parent: object, index: object) -> object:
            event = self.peek_event()
            if getattr(event, "anchor", None) is not None:
                self.refuse(
                    "anchors and aliases are not read", event.start_mark, "write the value out where it is needed"
                )
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                self.refuse(f"the tag {tag} is not read", event.start_mark, "leave it out: types are known")
            return super().compose_node(parent, index)

        def refuse(self, problem: str, mark: object, fix: str) -> None:
            raise yaml.constructor.ConstructorError(None, None, problem, mark, fix)

    for tag, pattern in _SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, None)
    Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
    Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)
    Loader.add_constructor("tag:yaml.org,2002:float", _number)
    return Loader


def _mapping(loader: Any, node: Any) -> dict[str, object]:
    """Make a mapping whose keys are texts, each there once."""
    values: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            loader.refuse(f"the key {key!r} is no text", key_node.start_mark, "put it in quotes")
        if key in values:
            loader.refuse(f"the key {key!r} is there twice", key_node.start_mark, "keep one of them")
        values[key] = loader.construct_object(value_node, deep=True)
    return values


def _whole_number(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node)
    if _LEADING_ZERO.match(text):
        digits = text.lstrip("+-0") or "0"
        problem = f"{text} is octal for some readers and decimal for others"
        loader.refuse(problem, node.start_mark, f"write {digits}, or 0o{digits} for octal, or quotes for a text")
    return int(text, base=0)


def _number(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


@cache
def _dumper() -> Any:
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]  # the module comes in when it is needed
        """Writes no aliases, and quotes a text that YAML 1.1 or 1.2 would read as something else."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(dumper: Any, value: str) -> object:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if _BREAKS.search(value) else None)

    Dumper.add_representer(str, text)
    for tag, pattern in _SCALARS:
        Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, None)
    return Dumper
