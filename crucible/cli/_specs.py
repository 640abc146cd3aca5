"""Spec files as the commands read them: with the changes that a person typed, compiled, or with all that is wrong."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro

from crucible.effects import Failure, Result
from crucible.ir import Experiment, InvalidSpec, Problem, decode
from crucible.ir.files import load_data
from crucible.ir.texts import parse

if TYPE_CHECKING:
    from crucible.kitchen.compiling import Compiled

Spec: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SPEC")]
"""A file with an experiment: YAML, TOML or JSON."""

Changes: TypeAlias = Annotated[
    tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE"), tyro.conf.UseAppendAction
]
"""What is to be different from the file."""

_KEY = re.compile(r"[\w-]+(\.[\w-]+|\[\d+\])*")
_STEP = re.compile(r"[\w-]+|\[\d+\]")


def compiled(path: Path, changes: Sequence[str]) -> "Result[Compiled, InvalidSpec]":
    """Read, change and compile a spec.

    Fails: InvalidSpec with all problems, those of the changes at their keys.
    """
    from crucible.kitchen.compiling import compile_experiment

    return read(path, changes).bind(lambda experiment: compile_experiment(experiment, source=str(path)))


def read(path: Path, changes: Sequence[str]) -> Result[Experiment, InvalidSpec]:
    """Read a spec and change it; a change is checked as what stands in the file is.

    Fails: InvalidSpec with all problems.
    """
    data = load_data(path)
    if isinstance(data, Failure):
        return Failure(data.failure())
    whole = data.unwrap()
    wrong = [problem for problem in (changed(whole, change) for change in changes) if problem is not None]
    if wrong:
        return Failure(InvalidSpec(problems=tuple(wrong), source=str(path)))
    return decode(whole, source=str(path))


def changed(data: object, change: str) -> Problem | None:
    """Change plain data in place by `key.key=value`; say what is wrong with the change, if anything is.

    >>> data = {"training": {"epochs": 1}, "pipeline": [{"name": "train"}]}
    >>> changed(data, "training.epochs=2"), changed(data, "pipeline[0].enabled=false"), data
    (None, None, {'training': {'epochs': 2}, 'pipeline': [{'name': 'train', 'enabled': False}]})
    >>> print(changed(data, "training..epochs=2"))
    --set 'training..epochs=2' is no change (write it as key=value, such as training.epochs=2 or pipeline[0].enabled=false)
    """
    key, equals, text = change.partition("=")
    if not equals or not _KEY.fullmatch(key):
        fix = "write it as key=value, such as training.epochs=2 or pipeline[0].enabled=false"
        return Problem(path="", message=f"--set {change!r} is no change", fix=fix)
    steps = _STEP.findall(key)
    place = data
    for step, following in pairwise(steps):
        place = _within(place, step, [] if following.startswith("[") else {})
    last = steps[-1]
    index = _index(place, last)
    if isinstance(place, dict) and not last.startswith("["):
        place[last] = _value(text)
    elif isinstance(place, list) and index is not None:
        place[index : index + 1] = [_value(text)]
    else:
        return Problem(path=key, message="nothing in the file can be changed there", fix=_what_is_there(place))
    return None


def _within(place: object, step: str, otherwise: object) -> object:
    """Give what is at a step, made where there is nothing; None where there can be nothing."""
    index = _index(place, step)
    if isinstance(place, dict) and not step.startswith("["):
        if place.get(step) is None:
            place[step] = otherwise
        return place[step]
    if isinstance(place, list) and index is not None:
        place += [otherwise] if index == len(place) else []
        item: object = place[index]
        return item
    return None


def _index(place: object, step: str) -> int | None:
    """Give the index that a step is in a list: of an item, or of the next one, which can be made."""
    number = step.strip("[]")
    in_reach = isinstance(place, list) and number.isdecimal() and int(number) <= len(place)
    return int(number) if in_reach else None


def _what_is_there(place: object) -> str:
    if isinstance(place, list):
        return f"it is a list of {len(place)}: name an item from [0] on, or add the next as [{len(place)}]"
    return "it has keys: name one, as in training.epochs" if isinstance(place, dict) else "correct the key"


def _value(text: str) -> object:
    """Read a value as YAML does; what YAML cannot read is a text."""
    read_value = parse(f"value: {text}", "yaml").value_or(None)
    return read_value["value"] if isinstance(read_value, dict) and list(read_value) == ["value"] else text
