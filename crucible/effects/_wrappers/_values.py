"""Walking through the values of calls and answers."""

from collections.abc import Callable

import attrs
from returns.result import Failure, Success


def rebuilt(value: object, leaf: Callable[[str, object], object], name: str = "") -> object:
    """Give `value` with each part that holds no others replaced by `leaf(name, part)`; `name` is that of its field.

    What does not change stays the same object.
    """
    kind = type(value)
    make: Callable[..., object] = kind
    if isinstance(value, list | tuple | set | frozenset) and kind in _PLAIN:
        items = list(value)
        parts = [rebuilt(item, leaf, name) for item in items]
        return value if all(map(_same, items, parts)) else make(parts)
    if isinstance(value, dict) and kind is dict:
        pairs = {
            rebuilt(key, leaf): rebuilt(item, leaf, key if isinstance(key, str) else "") for key, item in value.items()
        }
        return value if all(map(_same, [*value, *value.values()], [*pairs, *pairs.values()])) else pairs
    if isinstance(value, Success | Failure):
        inner = value.failure() if isinstance(value, Failure) else value.unwrap()
        part = rebuilt(inner, leaf)
        return value if part is inner else make(part)
    if attrs.has(kind):
        fields = [field for field in attrs.fields(kind) if field.init]
        before = {field.alias: getattr(value, field.name) for field in fields}
        after = {field.alias: rebuilt(before[field.alias], leaf, field.name) for field in fields}
        changes = {alias: part for alias, part in after.items() if part is not before[alias]}
        return make(**{**before, **changes}) if changes else value
    return leaf(name, value)


def _same(one: object, other: object) -> bool:
    return one is other


_PLAIN = frozenset({list, tuple, set, frozenset})
