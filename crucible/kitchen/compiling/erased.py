"""Where static types end: stages that a file names, put together without the checker.

`shapes` has compared their states by then, and `compile_experiment` has looked for a handler of every port. Each cast below rests
on one of these two checks; there is none elsewhere in this package.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Never, TypeAlias, cast

from crucible.effects import Eff, Handlers, Port
from crucible.kitchen.context import Context
from crucible.kitchen.recipe import Recipe
from crucible.kitchen.stage import Stage, as_stage

AnyPart: TypeAlias = Callable[[Never], Eff[object, object, object]]
"""Any stage, or function that can stand for one: whatever it takes, gives and needs."""

AnyStage: TypeAlias = Stage[Never, object, object, object]
"""Any stage."""

AnyRecipe: TypeAlias = Recipe[object, object, object, Port]
"""A recipe whose configuration has been checked to be the one that its workflow takes."""

EveryHandler: TypeAlias = Handlers[Port]
"""Handlers that have been checked to handle every port of the workflow that they are used for."""


def stage_of(part: AnyPart) -> AnyStage:
    """Give the part as a stage."""
    return as_stage(part)


def in_sequence(first: AnyStage, parts: Sequence[AnyStage]) -> AnyStage:
    """Compose stages, each of which has been checked to take what the one before it gives."""
    return reduce(_then, parts, first)


def recipe_of(name: str, description: str, workflow: AnyStage, config: object) -> AnyRecipe:
    """Make a recipe of a workflow that has been checked to begin with this configuration; its problems are known."""
    checked = cast("Stage[Context[object], Context[object], object, Port]", workflow)
    return Recipe(name=name, description=description, workflow=checked, default_config=config)


def every_handler(handlers: Handlers[Never]) -> EveryHandler:
    """Take handlers, which have been checked to handle all that is needed, for handlers of everything."""
    return cast("Handlers[Port]", handlers)


def _then(first: AnyStage, second: AnyStage) -> AnyStage:
    return first >> cast("Callable[[object], Eff[object, object, object]]", second)
