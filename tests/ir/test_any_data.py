"""Whatever stands in a file, reading it gives a spec or problems, and never an exception."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.effects import Failure
from crucible.ir import decode, encode, loads
from tests.ir.examples import EVERYTHING
from tests.ir.specs import plain
from tests.ir.test_problems import all_places

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = plain(nulls=True) | st.sampled_from([float("nan"), 10**400, "\ud800", {1: 2}, object()])


@pytest.mark.parametrize("method", sorted(EVERYTHING))
@MANY
@given(st.data())
def test_any_values_at_any_places_give_a_spec_or_problems(method: str, data: st.DataObject) -> None:
    broken: Any = encode(EVERYTHING[method])
    for place, _ in data.draw(st.lists(st.sampled_from(all_places(method)), min_size=1, max_size=4)):
        parent = broken
        for step in place[:-1]:
            if not (isinstance(parent, dict) and step in parent) and not (isinstance(parent, list) and parent):
                break
            parent = parent[step if isinstance(parent, dict) else 0]
        if isinstance(parent, dict):
            parent[str(place[-1])] = copy.deepcopy(data.draw(VALUES))
    result = decode(broken)
    assert not isinstance(result, Failure) or str(result.failure())


@MANY
@given(st.text(max_size=30), st.sampled_from(["json", "toml", "yaml"]))
def test_any_text_gives_a_spec_or_problems(text: str, form: Any) -> None:
    assert isinstance(loads(text, form), Failure)


@MANY
@given(st.recursive(VALUES, lambda inner: st.dictionaries(st.text(max_size=3) | st.integers(), inner), max_leaves=5))
def test_any_data_gives_problems(data: object) -> None:
    assert str(decode(data).failure())
