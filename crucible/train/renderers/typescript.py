"""Tools as TypeScript types, in the form that openai-harmony writes for gpt-oss."""

import json
from collections.abc import Iterator, Mapping, Sequence

from crucible.train.types import ToolSpec

_PLAIN = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_INDENT = "    "


def tool_namespace(tools: Sequence[ToolSpec]) -> str:
    """Write tools as the namespace `functions`.

    >>> print(tool_namespace([ToolSpec(name="now", description="Tells the time.")]))
    ## functions
    <BLANKLINE>
    namespace functions {
    <BLANKLINE>
    // Tells the time.
    type now = () => any;
    <BLANKLINE>
    } // namespace functions
    """
    return "\n\n".join(["## functions", "namespace functions {", *map(_tool, tools), "} // namespace functions"])


def _tool(tool: ToolSpec) -> str:
    comment = "".join(f"// {line}\n" for line in tool.description.splitlines())
    if not tool.parameters:
        return f"{comment}type {tool.name} = () => any;"
    return f"{comment}type {tool.name} = (_: {_object(tool.parameters, '')}) => any;"


def _type(schema: Mapping[str, object], indent: str) -> str:
    """Write the type of a value; what a schema says beyond what is known here is `any`."""
    kind = schema.get("type")
    if isinstance(kind, list | tuple):
        return " | ".join(_PLAIN.get(str(each), str(each)) for each in kind)
    if kind == "object":
        return _object(schema, indent + _INDENT)
    if kind == "array":
        items = schema.get("items")
        return f"{_type(items, indent)}[]" if isinstance(items, Mapping) else "Array<any>"
    written = _PLAIN.get(str(kind), "any")
    values = schema.get("enum")
    if kind == "string" and isinstance(values, Sequence) and values:
        written = " | ".join(f'"{value}"' for value in values if isinstance(value, str))
    return f"{written} | null" if schema.get("nullable") is True else written


def _object(schema: Mapping[str, object], indent: str) -> str:
    description = schema.get("description")
    before = f"{indent}// {description}\n" if isinstance(description, str) else ""
    properties = schema.get("properties")
    lines = _properties(properties, schema.get("required"), indent) if isinstance(properties, Mapping) else ()
    return before + "{\n" + "".join(lines) + indent + "}"


def _properties(properties: Mapping[str, object], required: object, indent: str) -> Iterator[str]:
    needed = set(required) if isinstance(required, list | tuple) else set()
    for name, value in properties.items():
        schema: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        yield from _comments(schema, indent)
        optional = "" if name in needed else "?"
        default = f" // default: {_default(schema)}" if "default" in schema else ""
        yield f"{indent}{name}{optional}: {_type(schema, indent)},{default}\n"


def _comments(schema: Mapping[str, object], indent: str) -> Iterator[str]:
    title, description, examples = (schema.get(key) for key in ("title", "description", "examples"))
    if isinstance(title, str):
        yield f"{indent}// {title}\n{indent}//\n"
    if isinstance(description, str) and schema.get("type") != "object":
        yield f"{indent}// {description}\n"
    if isinstance(examples, Sequence) and not isinstance(examples, str) and examples:
        yield f"{indent}// Examples:\n"
        yield from (f'{indent}// - "{example}"\n' for example in examples if isinstance(example, str))


def _default(schema: Mapping[str, object]) -> str:
    value = schema["default"]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
