"""The command line of a recipe: choose seed and model, look at the plan, run, report."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from crucible.cookbook.models import smollm2
from crucible.effects import Failure, Handlers
from crucible.kitchen import Recipe, RunResult, dry_run, new_run_id, run
from crucible.kitchen.progress import RunProgress
from crucible.telemetry.plots import plot_training
from crucible.telemetry.ports import EventStore, MetricsStore

B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E")
R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Program(Generic[C, B, E, R]):
    """A recipe that can be started from the command line.

    Args:
        recipe_of: makes it for a model, a seed and a number of rows.
        handlers: wires a machine, everything below a folder.
        num_rows: of the default run.
        shown: the metrics to report, by name, with the words to call them by: first value, then last.
    """

    recipe_of: Callable[[str, int, int], Recipe[C, B, E, R]]
    handlers: Callable[[Path], Handlers[R | MetricsStore | EventStore]]
    num_rows: int
    shown: tuple[tuple[str, str], ...]


def launch(program: Program[C, B, E, R], arguments: Sequence[str] | None = None) -> int:
    """Run a program with command line arguments; give the exit status."""
    options = _parser(program).parse_args(arguments)
    os.environ.setdefault("TQDM_DISABLE", "1")  # the run has a progress bar of its own
    recipe = program.recipe_of(options.model or smollm2(), options.seed, options.rows)
    run_id = f"{recipe.name}_{new_run_id()}"
    root = options.runs / run_id
    handlers = program.handlers(root)
    if options.dry_run:
        planned = dry_run(recipe, handlers)
        print(planned.failure() if isinstance(planned, Failure) else planned.unwrap())
        return int(isinstance(planned, Failure))
    with RunProgress() as progress:
        result = run(recipe, handlers, run_id=run_id, on_event=progress.show)
    if isinstance(result, Failure):
        print(result.failure(), file=sys.stderr)
        return 1
    report(result.unwrap(), root, program.shown)
    return 0


def report(result: RunResult[B], root: Path, shown: Sequence[tuple[str, str]]) -> None:
    """Print what the run achieved and where it is; draw how it went."""
    plot_training(result.metrics, root / "plot.png", title=result.run_id)
    for name, words in shown:
        values = [point.value for point in result.metrics if point.name == name]
        if values:
            print(f"{words}: {values[0]:.3g} before, {values[-1]:.3g} after")
    for artifact in result.artifacts:
        print(f"{artifact.kind}: {artifact.path}")
    print(f"metrics, events and plot.png: {root}\nlook at it: crucible report {root}\n{result.duration_seconds:.0f} s")
    for problem in result.telemetry_problems:
        print(f"telemetry: {problem}", file=sys.stderr)


def _parser(program: Program[C, B, E, R]) -> argparse.ArgumentParser:
    rows = program.num_rows
    parser = argparse.ArgumentParser(description=program.recipe_of("model", 0, rows).description)
    parser.add_argument("--seed", type=int, default=0, help="of the data, the adapter and the order (default 0)")
    parser.add_argument("--rows", type=int, default=rows, help=f"rows to train on (default {rows})")
    parser.add_argument("--model", help="hub id, local directory or .gguf file (default: the SmolLM2 wheel)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default runs/)")
    parser.add_argument("--dry-run", action="store_true", help="validate everything and print the plan, do nothing")
    return parser
