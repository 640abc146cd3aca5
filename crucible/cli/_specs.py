"""Spec files as the commands read them: with the changes that a person typed, compiled, or with all that is wrong."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

from crucible.effects import Failure, Result
from crucible.ir import Experiment, InvalidSpec, Problem, decode
from crucible.ir.texts import format_of, parse
from crucible.kitchen.compiling import Compiled, compile_experiment

Spec: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
"""A file with an experiment: YAML, TOML or JSON."""

Changes: TypeAlias = Annotated[
    tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction
]
"""What is to be different from the file."""

_KEY = re.compile(r"[A-Za-z0-9_-]+")


def compiled(path: Path, changes: Sequence[str]) -> Result[Compiled, InvalidSpec]:
    """Read, change and compile a spec.

    Fails: InvalidSpec with all problems, those of the changes at their keys.
    """
    return read(path, changes).bind(lambda experiment: compile_experiment(experiment, source=str(path)))


def read(path: Path, changes: Sequence[str]) -> Result[Experiment, InvalidSpec]:
    """Read a spec and change it; a change is checked as what stands in the file is.

    Fails: InvalidSpec with all problems.
    """
    form = format_of(path.name)
    if isinstance(form, Failure):
        return _invalid(path, form.failure())
    try:
        text = path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return _invalid(path, Problem(path="", message=message, fix="look at the file and its rights"))
    data = parse(text, form.unwrap())
    if isinstance(data, Failure):
        return _invalid(path, data.failure())
    whole = data.unwrap()
    for change in changes:
        problem = changed(whole, change)
        if problem is not None:
            return _invalid(path, problem)
    return decode(whole, source=str(path))


def changed(data: object, change: str) -> Problem | None:
    """Change plain data in place by `key.key=value`; say what is wrong with the change, if anything is.

    >>> data = {"training": {"epochs": 1}, "pipeline": [{"name": "train"}]}
    >>> changed(data, "training.epochs=2"), changed(data, "pipeline[0].enabled=false"), data
    (None, None, {'training': {'epochs': 2}, 'pipeline': [{'name': 'train', 'enabled': False}]})
    >>> print(changed(data, "training.epochs"))
    training.epochs: is no change (write it as key=value, such as training.epochs=2)
    """
    key, equals, text = change.partition("=")
    keys = _KEY.findall(key)
    if not equals or not keys:
        return Problem(path=key, message="is no change", fix="write it as key=value, such as training.epochs=2")
    place = data
    for part in keys[:-1]:
        place = _within(place, part)
    last = keys[-1]
    if isinstance(place, dict):
        place[last] = _value(text)
    elif isinstance(place, list) and last.isdecimal() and int(last) < len(place):
        place[int(last)] = _value(text)
    else:
        return Problem(path=key, message="nothing in the file can be changed there", fix="correct the key")
    return None


def _within(place: object, key: str) -> object:
    """Give what is at a key, made where there is nothing; None where there can be nothing."""
    if isinstance(place, dict):
        if place.get(key) is None:
            place[key] = {}
        return place[key]
    if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
        item: object = place[int(key)]
        return item
    return None


def _value(text: str) -> object:
    """Read a value as YAML does; what YAML cannot read is a text."""
    read_value = parse(f"value: {text}", "yaml").value_or(None)
    return read_value["value"] if isinstance(read_value, dict) and list(read_value) == ["value"] else text


def _invalid(path: Path, problem: Problem) -> Result[Experiment, InvalidSpec]:
    return Failure(InvalidSpec(problems=(problem,), source=str(path)))
