"""What is wrong with a spec is said once, at its place, and all of it together."""

import copy
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import attrs
import pytest

from crucible.effects import Failure, Success
from crucible.fields import alternatives, field_types
from crucible.ir import Experiment, InvalidSpec, Problem, decode, encode, problems_of
from crucible.ir.check import is_spec
from tests.ir.examples import EVERYTHING
from tests.ir.specs import KINDS

METHODS = sorted(EVERYTHING)
Place = tuple[str | int, ...]


def path_of(place: Place) -> str:
    """Write a place as a problem does.

    >>> path_of(("outputs", 0, "formats", 1))
    'outputs[0].formats[1]'
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")


def chosen(kind: Any, value: Any) -> Any:
    """Give the one type of a union that an encoded value is of."""
    kinds = [it for it in alternatives(kind) if it is not type(None)]
    if len(kinds) > 1 and all(map(is_spec, kinds)):
        return next(it for it in kinds if value["method"] in get_args(field_types(it)["method"]))
    return kinds[0] if len(kinds) == 1 else kind


def places(value: Any, kind: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Give every place of encoded data that has a type, with the type."""
    kind = chosen(kind, value)
    yield place, kind
    if is_spec(kind):
        for key, item in value.items():
            if key != "schema":
                yield from places(item, field_types(kind)[key], (*place, key))
    elif get_origin(kind) is tuple:
        for index, item in enumerate(value):
            yield from places(item, get_args(kind)[0], (*place, index))


def changed(data: Any, place: Place, change: Any) -> Any:
    """Copy data with a change at the parent of a place."""
    data = copy.deepcopy(data)
    parent = data
    for step in place[:-1]:
        parent = parent[step]
    change(parent, place[-1])
    return data


def problems(data: Any) -> tuple[Problem, ...]:
    """Give the problems of data."""
    result = decode(data)
    return result.failure().problems if isinstance(result, Failure) else ()


def paths(data: Any) -> list[str]:
    return [problem.path for problem in problems(data)]


def all_places(method: str) -> list[tuple[Place, Any]]:
    return [(place, kind) for place, kind in places(encode(EVERYTHING[method]), Experiment) if place]


def test_the_examples_say_everything_there_is() -> None:
    said: dict[type, set[str]] = {}
    for method, example in EVERYTHING.items():
        assert problems_of(example) == ()
        data = encode(example)
        for place, kind in places(data, Experiment):
            if is_spec(kind):
                value = data
                for step in place:
                    value = value[step]  # type: ignore[index, assignment]  # a walk over plain data
                said.setdefault(kind, set()).update(value)
        assert example.training is not None
        assert example.training.method == method
    for kind in KINDS:
        only_one = {"resume_from", "start_from"}
        assert {field.name for field in attrs.fields(kind)} <= said[kind] | only_one, kind


@pytest.mark.parametrize("method", METHODS)
def test_a_value_of_a_wrong_type_is_one_problem_at_its_place(method: str) -> None:
    data = encode(EVERYTHING[method])
    for place, kind in all_places(method):
        wrong: list[Any] = [[["wrong"]]] if get_origin(kind) is not tuple else ["wrong"]
        wrong += ["3", True] if kind in {int, float} else [3.7] if kind is bool else [7]
        wrong += [3.7, 3.0] if kind is int else []
        for value in wrong:
            broken = changed(data, place, lambda parent, key, value=value: parent.__setitem__(key, value))
            assert paths(broken) == [path_of(place)], (place, value)


@pytest.mark.parametrize("method", METHODS)
def test_a_misspelt_key_is_one_problem_that_names_the_right_one(method: str) -> None:
    data = encode(EVERYTHING[method])
    for place, _ in all_places(method):
        key = place[-1]
        if isinstance(key, str):
            wrong = f"{key[:-1]}{key[-1]}_" if len(key) < 5 else key[:-2] + key[-1]
            broken = changed(data, place, lambda parent, key, wrong=wrong: parent.update({wrong: parent.pop(key)}))
            found = problems(broken)
            assert [problem.path for problem in found] == [path_of((*place[:-1], wrong))], place
            assert found[0].fix == f"did you mean {key}?"


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_key_is_one_problem_or_has_a_default(method: str) -> None:
    data = encode(EVERYTHING[method])
    kinds = dict(all_places(method)) | {(): Experiment}
    for place, _ in all_places(method):
        key = place[-1]
        if not isinstance(key, str):
            continue
        field = getattr(attrs.fields(kinds[place[:-1]]), key)
        found = problems(changed(data, place, lambda parent, key: parent.pop(key)))
        if field.default is attrs.NOTHING or place == ("training", "method"):
            assert [(problem.path, problem.message) for problem in found] == [(path_of(place), "is missing")]
        else:
            assert all(problem.message != "is missing" for problem in found)


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_choice_is_one_problem_that_names_the_choices(method: str) -> None:
    data = encode(EVERYTHING[method])
    for place, kind in all_places(method):
        if isinstance(kind, object) and str(get_origin(kind)) == "typing.Literal":
            broken = changed(data, place, lambda parent, key: parent.__setitem__(key, "something"))
            (problem,) = problems(broken)
            assert problem.path == path_of(place)
            assert all(str(choice) in problem.message for choice in get_args(kind))


def test_all_problems_are_told_together_those_of_the_data_and_those_of_rules() -> None:
    data: Any = encode(EVERYTHING["supervised"])
    data["training"] |= {"epochs": "3", "resume_from": "here", "learning_rat": 1}
    data["reliability"]["ensemble"]["weights"] = [1.0]
    data["reliability"]["retry"] = {"attempts": 0, "first_seconds": 9.0, "most_seconds": 1.0}
    data["outputs"].append({"name": "report", "formats": [], "sink": "stdout"})
    data["backend"]["fallback"]["id"] = "tinker"
    del data["model"]["id"]
    assert sorted(paths(data)) == [
        "backend.fallback.id",
        "model.id",
        "outputs[1].formats",
        "outputs[1].name",
        "reliability.ensemble.weights",
        "reliability.retry.attempts",
        "reliability.retry.first_seconds",
        "training.epochs",
        "training.learning_rat",
        "training.start_from",
    ]


def test_an_invalid_spec_reads_as_a_list_of_what_to_do() -> None:
    failure = decode({"schema": 1, "id": "a b"}, source="run.yaml").failure()
    assert isinstance(failure, InvalidSpec)
    assert str(failure).splitlines() == [
        "run.yaml has 4 problems:",
        "  - id: must match [A-Za-z0-9][A-Za-z0-9._-]*, which 'a b' does not (use no other characters)",
        "  - model: is missing (give it)",
        "  - backend: is missing (give it)",
        "  - training: an experiment of the type training needs one (give one, or set experiment_type to what this is)",
    ]


@pytest.mark.parametrize("data", ["text", None, 3, ["a"], True])
def test_data_that_is_no_mapping_is_one_problem(data: object) -> None:
    assert [problem.path for problem in problems(data)] == [""]


def test_data_without_end_is_a_problem_and_no_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (problem,) = problems({"schema": 1, "id": "a", "metadata": {"deep": deep}})
    assert problem.message == "is nested too deeply"


@pytest.mark.parametrize("fallback", [7, {"id": "noop", "fallback": 7}, {"id": 7, "fallback": {"id": "torch"}}])
def test_a_fallback_that_cannot_be_read_is_one_problem_at_any_depth(fallback: object) -> None:
    (problem,) = problems({**encode(EVERYTHING["supervised"]), "backend": {"id": "torch", "fallback": fallback}})
    assert problem.path.startswith("backend.fallback")


@pytest.mark.parametrize(
    ("created_at", "message"),
    [
        ("yesterday", "must be a date and a time, not the text 'yesterday'"),
        ("2026-01-31", "must have a time zone"),
        (20260131, "must be a date and a time, not 20260131"),
    ],
)
def test_a_time_is_a_whole_one(created_at: object, message: str) -> None:
    (problem,) = problems({**encode(EVERYTHING["supervised"]), "created_at": created_at})
    assert (problem.path, problem.message) == ("created_at", message)


def test_whole_numbers_are_fine_for_numbers() -> None:
    data = encode(EVERYTHING["supervised"])
    broken = changed(data, ("training", "learning_rate"), lambda parent, key: parent.__setitem__(key, 1))
    result = decode(broken)
    assert isinstance(result, Success)
    training = result.unwrap().training
    assert training is not None
    assert type(getattr(training, "learning_rate")) is float  # noqa: B009  # not all methods have one


def test_a_spec_does_not_share_what_it_was_made_of() -> None:
    data: Any = encode(EVERYTHING["supervised"])
    spec = decode(data).unwrap()
    data["metadata"]["nested"]["list"].append("later")
    again: Any = encode(spec)
    again["metadata"]["nested"]["list"].append("later")
    assert spec == EVERYTHING["supervised"]


def test_what_is_no_spec_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="3 is no spec"):
        problems_of(3)  # type: ignore[arg-type]  # what a careless caller gives


def test_a_text_where_one_key_is_wanted_is_told_how_to_be_written() -> None:
    data = {**encode(EVERYTHING["supervised"]), "model": "owner/model", "backend": "torch", "pipeline": ["train"]}
    found = {problem.path: problem.fix for problem in decode(data).failure().problems}
    assert found["model"] == "write {id: owner/model}"
    assert found["backend"] == "write {id: torch}"
    assert found["pipeline[0]"] == "write {name: train}"
    unknown = decode({**data, "backend": "cuda", "model": "a: b"}).failure().problems
    assert {problem.fix for problem in unknown if problem.path in {"backend", "model"}} == {"give its keys"}


@pytest.mark.parametrize(
    ("change", "path", "fix"),
    [
        ({"learning_rate": 1e-3}, "learning_rate", "there is training.learning_rate"),
        ({"rank": 8}, "rank", "there is training.lora.rank"),
        (
            {"training": {"method": "supervised", "beta": 0.1}},
            "training.beta",
            "there is training.beta for the method preference",
        ),
        ({"training": {"method": "supervised", "model": {}}}, "training.model", "there is model"),
        ({"dataset": {"id": "rows"}}, "dataset.id", "did you mean name?"),
        ({"training": {"method": "distillation", "teachers": ["t"]}}, "training.teachers[0]", "write {model: {id: t}}"),
        ({"training": {"method": "supervised", "truncate": "yes"}}, "training.truncate", "write true or false"),
    ],
)
def test_a_key_in_the_wrong_place_is_one_problem_that_says_the_right_one(
    change: dict[str, Any], path: str, fix: str
) -> None:
    data = {"schema": 1, "id": "x", "model": {"id": "m"}, "backend": {"id": "noop"}, "dataset": {"name": "d"}}
    found = problems({**data, "training": {"method": "supervised"}, **change})
    assert [(problem.path, problem.fix) for problem in found] == [(path, fix)]
