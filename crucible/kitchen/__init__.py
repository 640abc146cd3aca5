"""Orchestration: contexts, stages, workflows, recipes and runs. Handlers live in `crucible.kitchen.handlers`."""

from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.flow import checked, conditional, loop, parallel, stream_loop, zoom
from crucible.kitchen.outline import Outline
from crucible.kitchen.recipe import InvalidConfig, Recipe
from crucible.kitchen.run import MissingHandlers, Plan, RunFailed, RunResult, dry_run, execute, new_run_id, run
from crucible.kitchen.stage import Stage, as_stage, generic_stage, pure_stage, stage

__all__ = [
    "Context",
    "InvalidConfig",
    "Iteration",
    "MissingHandlers",
    "Outline",
    "Plan",
    "Recipe",
    "RunFailed",
    "RunResult",
    "Stage",
    "as_stage",
    "checked",
    "conditional",
    "dry_run",
    "execute",
    "generic_stage",
    "loop",
    "new_run_id",
    "parallel",
    "pure_stage",
    "run",
    "stage",
    "stream_loop",
    "zoom",
]
