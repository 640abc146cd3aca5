"""The formats: what surprises in them is refused or read as one would think."""

import json
import tomllib
from typing import Any

import pytest
import yaml

from crucible.effects import Failure
from crucible.ir import Format, ModelRef, StageDef, dumps, loads
from crucible.ir.texts import format_of, parse, render
from tests.ir.specs import TRICKY


def value_of(yaml_text: str) -> object:
    """Read the value of a key from YAML."""
    data = parse(f"key: {yaml_text}", "yaml").unwrap()
    assert isinstance(data, dict)
    return data["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("10", 10),
        ("-3", -3),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("'3'", "3"),
        ("! x", "x"),
    ],
)
def test_yaml_scalars_are_those_of_its_core_schema(text: str, value: object) -> None:
    read = value_of(text)
    assert (type(read), read) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("a: 0755", "line 1: 0755 is octal for some readers and decimal for others", "write 755, or 0o755 for octal"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice", "keep one of them"),
        ("1: a", "line 1: the key 1 is no text", "put it in quotes"),
        ("[1]: a", "line 1: the key [1] is no text", "put it in quotes"),
        ("a: &x [1]\nb: *x", "line 1: anchors and aliases are not read", "write the value out where it is needed"),
        ("b: *x", "line 1: anchors and aliases are not read", "write the value out where it is needed"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "line 1: the tag tag:yaml.org,2002:python/object/apply:os.system",
            "leave",
        ),
        ("a: !!int '3'", "line 1: the tag tag:yaml.org,2002:int is not read", "leave it out: types are known"),
        ("a: 1\n--- \nb: 2", "line 2: but found another document", "look at that place"),
        ("a: [1", "line 1", "look at that place"),
        ("a: \x07", "special characters are not allowed", "look at that place"),
    ],
)
def test_yaml_that_is_more_than_data_or_not_clear_is_refused(text: str, message: str, fix: str) -> None:
    problem = parse(text, "yaml").failure()
    assert message in problem.message
    assert problem.fix.startswith(fix)


def test_a_bomb_of_anchors_is_refused_before_it_grows() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30))
    result = loads(f"l0: &l0 [x]\n{levels}", "yaml")
    assert "anchors and aliases are not read" in str(result.failure())


@pytest.mark.parametrize(
    ("form", "text"), [("yaml", "[" * 100_000), ("json", "[" * 100_000), ("toml", f"a = {'[' * 100_000}")]
)
def test_a_text_without_end_is_a_problem_and_no_crash(form: Format, text: str) -> None:
    assert isinstance(loads(text, form), Failure)


def test_a_merge_is_no_key_that_is_known() -> None:
    failure = loads("schema: 1\nname: s\n<<: {enabled: false}", "yaml", StageDef).failure()
    assert [problem.path for problem in failure.problems] == ['["<<"]']


@pytest.mark.parametrize("form", ["json", "toml", "yaml"])
def test_an_empty_text_is_a_problem(form: Format) -> None:
    assert isinstance(loads("", form), Failure)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": -Infinity}', "-Infinity is no number"),
        ("{'a': 1}", "line 1"),
        (f'{{"a": {"9" * 5000}}}', "is no JSON that is read here"),
    ],
)
def test_json_is_strict(text: str, message: str) -> None:
    assert message in parse(text, "json").failure().message


def test_toml_says_where_it_is_wrong() -> None:
    assert "line 2" in parse("a = 1\na = 2\n", "toml").failure().message


def test_toml_times_are_read_as_times_and_nowhere_else() -> None:
    text = 'schema = 1\nid = "m"\n[options]\nday = 2026-01-31\n'
    failure = loads(text, "toml", ModelRef).failure()
    assert [problem.path for problem in failure.problems] == ["options.day"]


def test_toml_cannot_say_null_and_says_so() -> None:
    spec = ModelRef(id="m", options={"a": [1, {"b": None}]})
    (problem,) = dumps(spec, "toml").failure().problems
    assert (problem.path, problem.message) == ("options.a[1].b", "TOML has no null")


@pytest.mark.parametrize("text", TRICKY)
def test_texts_that_look_like_something_else_are_read_as_texts_by_other_readers_too(text: str) -> None:
    data: dict[str, Any] = {"value": text, "nested": {text: [text]}}
    assert yaml.safe_load(render(data, "yaml").unwrap()) == data
    assert tomllib.loads(render(data, "toml").unwrap()) == data
    assert json.loads(render(data, "json").unwrap()) == data


def test_numbers_are_written_so_that_other_yaml_readers_see_numbers() -> None:
    data: dict[str, Any] = {"a": 1e-12, "b": 1e22, "c": 2e-4, "d": -0.0, "e": 511}
    assert yaml.safe_load(render(data, "yaml").unwrap()) == data


def test_a_spec_with_problems_is_not_written() -> None:
    assert [problem.path for problem in dumps(ModelRef(id=""), "json").failure().problems] == ["id"]


def test_the_ending_of_a_name_says_the_format() -> None:
    assert [format_of(name).unwrap() for name in ("a.json", "b.YAML", "c.yml", "d.x.toml")] == [
        "json",
        "yaml",
        "yaml",
        "toml",
    ]
    assert "must end in .json, .toml, .yaml, .yml" in format_of("run").failure().message
