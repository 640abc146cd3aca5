"""The versions of the files of experiments, and how an older one becomes the newest.

Version 1 is the first with a key `schema`. A file without it counts as version 0, the early form:

- `training_config`, `model_ref` and `dataset_ref` were the names of `training`, `model` and `dataset`;
- `model`, `dataset` and `backend` could be the mere id or name, and so could each stage of the pipeline.

What version 0 could say and version 1 says the same way is left as it is.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from crucible.effects import Failure, Result, Success
from crucible.fields import said
from crucible.ir.problems import Problem

Data: TypeAlias = Mapping[str, object]

VERSION = 1
"""The version of the files that are written."""

_RENAMED = {"training_config": "training", "model_ref": "model", "dataset_ref": "dataset"}
_NAMED_BY = {"model": "id", "dataset": "name", "backend": "id"}


def from_version_0(data: Data) -> Data:
    """Give the early form its names and mappings of today.

    >>> from_version_0({"backend": "torch", "training_config": {"method": "supervised"}, "pipeline": ["save"]})
    {'backend': {'id': 'torch'}, 'training': {'method': 'supervised'}, 'pipeline': [{'name': 'save'}]}
    """
    renamed = {_RENAMED[key] if key in _RENAMED and _RENAMED[key] not in data else key: it for key, it in data.items()}
    for key, name in _NAMED_BY.items():
        if key in renamed:
            renamed[key] = _spelt_out(renamed[key], name)
    pipeline = renamed.get("pipeline")
    if isinstance(pipeline, list):
        renamed["pipeline"] = [_spelt_out(stage, "name") for stage in pipeline]
    return renamed


def _spelt_out(value: object, name: str) -> object:
    return {name: value} if isinstance(value, str) else value


MIGRATIONS: Mapping[int, Callable[[Data], Data]] = MappingProxyType({0: from_version_0})
"""For each older version, how its data becomes that of the next."""


def migrated(data: Data, *, steps: Mapping[int, Callable[[Data], Data]] = MIGRATIONS) -> Result[Data, Problem]:
    """Give data in the newest version, without its key `schema`. `steps` are the migrations of such data.

    Fails: Problem for a version that is not known here.
    """
    version = data.get("schema", 0)
    if type(version) is not int or version < 0:
        fix = f"write schema: {VERSION}"
        return Failure(Problem(path="schema", message=f"must be the number of a version, not {said(version)}", fix=fix))
    if version > VERSION:
        message = f"is {version}, and this version of crucible reads files up to {VERSION}"
        return Failure(Problem(path="schema", message=message, fix="pip install --upgrade crucible-llm"))
    data = {key: value for key, value in data.items() if key != "schema"}
    for number in range(version, VERSION):
        data = steps[number](data) if number in steps else data
    return Success(data)
