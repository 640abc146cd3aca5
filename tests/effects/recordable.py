"""Classes that a journal can hold, at the top of a module as they must be, and values of every kind it can hold."""

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, Flag, IntEnum, StrEnum, auto
from pathlib import Path

import attrs
from hypothesis import strategies as st

from crucible.effects import Failure, Success


class Colour(Enum):
    RED = "red"
    BLUE = ("b", 1)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mode(StrEnum):
    READ = "r"
    WRITE = "w"


class Right(Flag):
    READ = auto()
    WRITE = auto()


@attrs.frozen(kw_only=True)
class Inner:
    _private: object
    aliased: object = attrs.field(alias="other_name")
    made: int = attrs.field(init=False, default=7)


@attrs.frozen
class Outer:
    inner: object
    items: object = ()

    @attrs.frozen
    class Nested:
        value: object


def float_of(bits: int) -> float:
    """Give the float with these 64 bits: every NaN, both zeros, the subnormals."""
    value: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return value


floats = st.one_of(
    st.floats(),
    st.integers(0, 2**64 - 1).map(float_of),
    st.integers(1, 2**52 - 1).map(lambda payload: float_of(0x7FF0000000000000 | payload)),
    st.sampled_from([-0.0, 0.0, math.inf, -math.inf, 5e-324]),
)
texts = st.one_of(st.text(st.characters(codec=None)), st.sampled_from(["$attrs", "$map", "", "\n", "\ud800"]))
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
enums = st.sampled_from([*Colour, *Level, *Mode, *Right, Right.READ | Right.WRITE, Right(0)])
hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(14_000, 20_000).map(lambda n: -(2**n)),
    texts,
    st.binary(),
    enums,
    st.datetimes(timezones=st.one_of(st.none(), st.just(UTC), zones)),
    st.dates(),
    st.timedeltas(),
    texts.filter(lambda text: "\0" not in text).map(Path),
)
sets = st.one_of(st.frozensets(hashable, max_size=4), st.sets(hashable, max_size=4))
values = st.recursive(
    st.one_of(hashable, floats, sets),
    lambda smaller: st.one_of(
        st.lists(smaller, max_size=4),
        st.lists(smaller, max_size=4).map(tuple),
        st.dictionaries(texts, smaller, max_size=4),
        st.dictionaries(st.one_of(hashable, st.tuples(hashable, hashable)), smaller, max_size=4),
        st.builds(Success, smaller),
        st.builds(Failure, smaller),
        st.builds(lambda a, b: Inner(private=a, other_name=b), smaller, smaller),
        st.builds(Outer, smaller, smaller),
        st.builds(Outer.Nested, smaller),
    ),
    max_leaves=10,
)


def exactly(value: object) -> tuple[type, object]:
    """Give what tells a value from every other: its classes all the way down, the bits of its floats, its order."""
    kind = type(value)
    if attrs.has(kind):
        return kind, [exactly(getattr(value, field.name)) for field in attrs.fields(kind)]
    inside = _INSIDE.get(kind)
    return kind, value if inside is None else inside(value)


_INSIDE: dict[type, Callable[..., object]] = {
    float: lambda value: struct.pack(">d", value),
    int: hex,
    list: lambda value: [exactly(item) for item in value],
    tuple: lambda value: [exactly(item) for item in value],
    set: lambda value: sorted(repr(exactly(item)) for item in value),
    frozenset: lambda value: sorted(repr(exactly(item)) for item in value),
    dict: lambda value: [(exactly(key), exactly(item)) for key, item in value.items()],
    datetime: repr,
    Success: lambda value: exactly(value.unwrap()),
    Failure: lambda value: exactly(value.failure()),
}
