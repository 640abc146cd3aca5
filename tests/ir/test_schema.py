"""The schema for editors takes what is right, and refuses what has wrong keys, types, choices or limits."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from crucible.ir import Experiment, ModelRef, encode, json_schema
from tests.ir.examples import EVERYTHING
from tests.ir.specs import KINDS, any_spec, specs
from tests.ir.test_problems import all_places, changed
from tests.ir.test_rules import LIMITED

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
VALIDATORS = {kind: Draft202012Validator(json_schema(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_schema_is_one_of_its_draft(kind: Any) -> None:
    Draft202012Validator.check_schema(json_schema(kind))


@QUICK
@given(any_spec())
def test_every_spec_is_right_by_its_schema(spec: Any) -> None:
    VALIDATORS[type(spec)].validate(encode(spec))


@settings(QUICK, max_examples=8, phases=[Phase.generate])
@given(specs(Experiment))
def test_every_experiment_is_right_by_its_schema(spec: Experiment) -> None:
    VALIDATORS[Experiment].validate(encode(spec))


@pytest.mark.parametrize("method", sorted(EVERYTHING))
def test_a_wrong_type_anywhere_is_wrong_by_the_schema(method: str) -> None:
    data = encode(EVERYTHING[method])
    VALIDATORS[Experiment].validate(data)
    for place, kind in all_places(method):
        wrong = "wrong" if kind is not str else 7
        broken = changed(data, place, lambda parent, key, wrong=wrong: parent.__setitem__(key, wrong))
        assert kind is str or wrong == "wrong"
        assert not VALIDATORS[Experiment].is_valid(broken), place


@pytest.mark.parametrize("method", sorted(EVERYTHING))
def test_an_unknown_key_anywhere_is_wrong_by_the_schema(method: str) -> None:
    data = encode(EVERYTHING[method])
    for place, _ in all_places(method):
        if isinstance(place[-1], str):
            broken = changed(data, place, lambda parent, key: parent.__setitem__(f"{key}_", 1))
            assert not VALIDATORS[Experiment].is_valid(broken), place


@pytest.mark.parametrize("key", ["schema", "id", "model", "backend"])
def test_a_missing_key_is_wrong_by_the_schema(key: str) -> None:
    data = copy.deepcopy(encode(EVERYTHING["supervised"]))
    del data[key]
    assert not VALIDATORS[Experiment].is_valid(data)


@pytest.mark.parametrize(
    ("spec", "path"),
    [(spec, path) for spec, path, message in LIMITED if message.startswith(("must be at", "must be above", "must be below", "must not", "must have at", "must match")) or "twice" in message],
)  # fmt: skip
def test_what_breaks_a_limit_is_wrong_by_the_schema(spec: Any, path: str) -> None:
    errors = list(VALIDATORS[type(spec)].iter_errors(encode(spec)))
    assert [str(error.absolute_path[0]) for error in errors] == [path.partition("[")[0]]


def test_an_editor_is_told_what_a_field_is_for() -> None:
    schema: Any = json_schema()
    assert schema["properties"]["baseline"]["description"] == "the id of the experiment that this one is compared with."
    lora = schema["$defs"]["SupervisedSpec"]["properties"]
    assert lora["epochs"] == {"type": "integer", "minimum": 1, "description": "passes over the rows.", "default": 1}
    assert schema["$defs"]["ModelRef"]["description"] == "A base model."
    assert schema["$defs"]["BackendRef"]["properties"]["fallback"]["anyOf"][0] == {"$ref": "#/$defs/BackendRef"}


def test_null_is_right_where_a_field_may_be_left_out() -> None:
    VALIDATORS[ModelRef].validate({"schema": 1, "id": "m", "revision": None})
