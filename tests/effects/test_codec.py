"""What is written is what is read: every kind, every bit."""

import json
import subprocess
import sys
from collections import OrderedDict
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Json, UnrecordableError, decode, digest, encode
from tests.effects.recordable import Colour, Inner, Mode, Outer, exactly, floats, hashable, values

ROOT = Path(__file__).parents[2]


class TestRoundTrip:
    @given(values)
    def test_gives_the_same_value_bit_for_bit(self, value: object) -> None:
        assert exactly(decode(encode(value))) == exactly(value)

    @given(values)
    def test_gives_it_through_text_too(self, value: object) -> None:
        text = json.dumps(encode(value), allow_nan=False)
        assert exactly(decode(json.loads(text))) == exactly(value)

    @given(values)
    def test_writes_the_same_again(self, value: object) -> None:
        assert encode(decode(encode(value))) == encode(value)

    @pytest.mark.parametrize(("number", "plain"), [(np.float64(0.1), 0.1), (np.float64("nan"), float("nan"))])
    def test_makes_a_number_of_a_library_plain(self, number: float, plain: float) -> None:
        assert exactly(decode(encode(number))) == exactly(plain)

    def test_keeps_private_and_aliased_fields(self) -> None:
        assert encode(Inner(private=1, other_name=2)) == {
            "$attrs": "tests.effects.recordable:Inner",
            "private": 1,
            "other_name": 2,
        }

    @pytest.mark.parametrize("key", ["$attrs", "$", 1, (1, 2), Mode.READ, None])
    def test_keeps_odd_keys_of_dicts(self, key: object) -> None:
        text = json.dumps(encode({key: 1, "plain": 2}))
        assert exactly(decode(json.loads(text))) == exactly({key: 1, "plain": 2})


class Pair(NamedTuple):
    a: int
    b: int


class TestUnsupported:
    @pytest.mark.parametrize(
        "value", [object(), Decimal("0.1"), 1j, bytearray(b"x"), Pair(1, 2), OrderedDict(a=1), lambda: 1, np.zeros(2)]
    )
    def test_values_are_refused_with_their_type_and_the_fix(self, value: object) -> None:
        message = f"cannot record a {type(value).__qualname__}: make it a frozen attrs class of plain values"
        with pytest.raises(UnrecordableError, match=message):
            encode({"within": [value]})

    def test_classes_within_a_function_are_refused_with_the_fix(self) -> None:
        @attrs.frozen
        class Local:
            x: int

        class LocalEnum(Enum):
            A = 1

        for value in (Local(1), LocalEnum.A):
            with pytest.raises(UnrecordableError, match="define the class at the top of its module"):
                encode(value)


class TestReading:
    @pytest.mark.parametrize(
        "name",
        [
            "not.imported:Thing",
            "crucible.no_such_module:Thing",
            "crucible.effects:NoSuchClass",
            "subprocess:Popen",
            "tests.effects.recordable:Outer.Missing",
        ],
    )
    @pytest.mark.parametrize("tag", ["$attrs", "$enum"])
    def test_a_class_that_is_not_known_is_refused(self, name: str, tag: str) -> None:
        data: Json = {tag: name} if tag == "$attrs" else {tag: [name, "RED"]}
        with pytest.raises(UnrecordableError, match=f"cannot read a {name} back: import"):
            decode(data)

    def test_our_own_modules_are_imported(self) -> None:
        program = "from crucible.effects import decode; print(decode({'$attrs': 'crucible.telemetry.events:StageStarted', 'stage': 'a'}))"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "StageStarted(stage='a')"

    def test_what_a_newer_version_wrote_is_refused(self) -> None:
        with pytest.raises(UnrecordableError, match=r"cannot read '\$later' back"):
            decode([{"$later": 1}])


plain = st.one_of(floats, hashable, st.lists(st.booleans()), st.lists(st.booleans()).map(tuple))

SAMPLE = (
    "from tests.effects.recordable import *; from crucible.effects import digest; "
    "print(digest([{'a': (1, 2.5), 3: float('nan')}, {'b', 'c', 'd', 'e'}, Outer(Colour.RED, Mode.READ)]))"
)


class TestDigest:
    def test_is_the_same_in_every_process(self) -> None:
        digests = {
            subprocess.run(
                [sys.executable, "-c", SAMPLE],
                cwd=ROOT,
                env={"PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("0", "1", "2")
        }
        assert len(digests) == 1

    @given(values)
    def test_of_a_value_read_back_is_the_same(self, value: object) -> None:
        assert digest(decode(encode(value))) == digest(value)

    @given(plain, plain)
    def test_is_the_same_just_for_the_same_value(self, a: object, b: object) -> None:
        assert (digest(a) == digest(b)) == (exactly(a) == exactly(b))

    @given(st.dictionaries(st.one_of(st.text(max_size=2), st.integers()), values, max_size=4))
    def test_does_not_depend_on_the_order_of_a_dict(self, mapping: dict[object, object]) -> None:
        backwards = dict(reversed(mapping.items()))
        assert digest(Outer([mapping])) == digest(Outer([backwards]))

    @pytest.mark.parametrize(
        ("a", "b"), [(1, 1.0), (1, True), (0.0, -0.0), ((1,), [1]), ("1", 1), (b"a", "a"), (Colour.RED, "red")]
    )
    def test_tells_kinds_apart(self, a: object, b: object) -> None:
        assert digest(a) != digest(b)
