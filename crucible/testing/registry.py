"""The contract of `ModelRegistry`, as a suite that any handler can be put through."""

from collections.abc import Callable
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.kitchen.errors import AlreadyExists, KitchenError
from crucible.kitchen.ports import ModelArtifact, ModelRegistry
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest, NotFound

Law: TypeAlias = Do[KitchenError, ModelRegistry, None]


def check_model_registry(make: Callable[[], Handlers[ModelRegistry]], *, name: str = "contract") -> None:
    """Put the handlers that `make` gives through the contract of `ModelRegistry`.

    Args:
        make: gives handlers over a registry that has no model whose name begins with `name`; called once for each law.
        name: of the models that are registered.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "what is registered is found, as it was": _finding(name),
        "the same version again is the same entry, another is refused": _repeating(name),
        "versions are listed in order, by name, in windows": _listing(name),
        "what is not there is not found": _missing(name),
    }
    obey(make, laws)


def _artifact(name: str, version: str) -> ModelArtifact:
    return ModelArtifact(
        name=name,
        version=version,
        uri=f"noop://weights/{name}/{version}",
        metrics={"accuracy": 0.5},
        lineage={"base_model": "m", "dataset": "d"},
        metadata={"steps": 3, "tags": ["a", None, True]},
    )


@do
def _finding(name: str) -> Law:
    artifact = _artifact(name, "1")
    model = yield from perform(ModelRegistry.register, artifact)
    require(bool(model.id), "the model has no id")
    require_equal(model.artifact, artifact, "the artifact registered")
    require_equal((yield from perform(ModelRegistry.get, model.id)), model, "the model found")


@do
def _repeating(name: str) -> Law:
    artifact = _artifact(name, "1")
    model = yield from perform(ModelRegistry.register, artifact)
    require_equal((yield from perform(ModelRegistry.register, artifact)), model, "the model registered again")
    other = attrs.evolve(artifact, uri="noop://weights/other")
    yield from refused("another artifact as the same version", perform(ModelRegistry.register, other), AlreadyExists)
    require_equal((yield from perform(ModelRegistry.get, model.id)), model, "the model after that")
    require_equal(len((yield from perform(ModelRegistry.list_models, name=name))), 1, "the number of models")


@do
def _listing(name: str) -> Law:
    models = []
    for line, version in ((name, "2"), (f"{name}-other", "1"), (name, "1"), (name, "3")):
        models.append((yield from perform(ModelRegistry.register, _artifact(line, version))))
    wanted = (models[0], models[2], models[3])
    require_equal((yield from perform(ModelRegistry.list_models, name=name)), wanted, "the versions of one name")
    for limit, offset in ((None, 0), (2, 0), (2, 1), (2, 2), (0, 0), (None, 9)):
        found = yield from perform(ModelRegistry.list_models, name=name, limit=limit, offset=offset)
        expected = wanted[offset:] if limit is None else wanted[offset : offset + limit]
        require_equal(found, expected, f"{limit} versions from {offset} on")
    everything = yield from perform(ModelRegistry.list_models)
    require(
        set(map(id, models)) <= set(map(id, everything)) or all(m in everything for m in models), "some are missing"
    )


@do
def _missing(name: str) -> Law:
    yield from refused("a model that is not there", perform(ModelRegistry.get, f"{name}-none"), NotFound)
    require_equal((yield from perform(ModelRegistry.list_models, name=f"{name}-none")), (), "versions of no name")
    listing = perform(ModelRegistry.list_models, offset=-1)
    yield from refused("listing from -1", listing, InvalidRequest)
