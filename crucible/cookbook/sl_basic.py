"""`sl_basic`: teach SmolLM2-135M a reasoning-gym task by supervised fine-tuning, on this machine.

    python -m crucible.cookbook.sl_basic              # or: make demo

It measures accuracy on held-out problems before and after, and leaves metrics, a plot of the loss and the trained
adapter in `runs/<run id>/`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from crucible.cookbook.models import smollm2
from crucible.effects import Failure, Handlers
from crucible.kitchen import Recipe, RunResult, dry_run, new_run_id, run
from crucible.kitchen.config import EvaluationConfig, problems_of
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import noop, reasoning_gym
from crucible.kitchen.handlers import torch as torch_handlers
from crucible.kitchen.ports import Evaluator, ModelRegistry
from crucible.kitchen.progress import RunProgress
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.telemetry.plots import plot_losses
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore
from crucible.train.errors import TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig, LoraConfig, SessionConfig

Ports: TypeAlias = TrainingClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry

NAME = "sl_basic"
TASK = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}


def config(*, model: str, seed: int = 0, num_rows: int = 640, num_examples: int = 100) -> SupervisedConfig:
    """Configure the recipe: sums and differences of two numbers, one pass over `num_rows` problems."""
    problems = DatasetConfig(name="chain_sum", options={"size": num_rows, "seed": seed, **TASK})
    held_out = DatasetConfig(name="chain_sum", split="test", options=problems.options)
    return SupervisedConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=16, seed=seed)),
        dataset=problems,
        batch_size=16,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=5,
        seed=seed,
        evaluation=EvaluationConfig(dataset=held_out, num_examples=num_examples, max_tokens=16),
    )


def recipe(default: SupervisedConfig) -> Recipe[SupervisedConfig, SupervisedState, TrainError | KitchenError, Ports]:
    """Make the recipe around a configuration."""
    return Recipe(
        name=NAME,
        description="Supervised fine-tuning of a small model on a procedurally generated task.",
        workflow=supervised,
        default_config=default,
        validate_config=problems_of,
    )


def handlers(root: Path | str) -> Handlers[Ports | MetricsStore | EventStore]:
    """Wire this machine: torch, the task and its verifier, telemetry in JSON lines, everything below `root`."""
    root = Path(root)
    return (
        torch_handlers.local(root, num_threads=1)
        | reasoning_gym.datasets()
        | reasoning_gym.verifier()
        | noop.registry()
        | MetricsStore.handled_by(JsonlMetricsStore(root))
        | EventStore.handled_by(JsonlEventStore(root))
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit status."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TQDM_DISABLE", "1")  # the run has a progress bar of its own
    run_id = f"{NAME}_{new_run_id()}"
    root = options.runs / run_id
    chosen = recipe(config(model=options.model or smollm2(), seed=options.seed, num_rows=options.rows))
    if options.dry_run:
        print(dry_run(chosen, handlers(root)).unwrap())
        return 0
    with RunProgress() as progress:
        result = run(chosen, handlers(root), run_id=run_id, on_event=progress.show)
    if isinstance(result, Failure):
        print(result.failure(), file=sys.stderr)
        return 1
    report(result.unwrap(), root)
    return 0


def report(result: RunResult[SupervisedState], root: Path) -> None:
    """Print what the run achieved and where it is; draw the loss."""
    accuracies = [point.value for point in result.metrics if point.name == "eval/accuracy"]
    plot_losses(result.metrics, root / "loss.png", title=result.run_id)
    print(f"accuracy on held-out problems: {accuracies[0]:.0%} before, {accuracies[-1]:.0%} after")
    for artifact in result.artifacts:
        print(f"{artifact.kind}: {artifact.path}")
    print(f"metrics, events and loss.png: {root}\n{result.duration_seconds:.0f} s")
    for problem in result.telemetry_problems:
        print(f"telemetry: {problem}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m crucible.cookbook.{NAME}", description=recipe.__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the data, the adapter and the order (default 0)")
    parser.add_argument("--rows", type=int, default=640, help="problems to train on (default 640)")
    parser.add_argument("--model", help="hub id, local directory or .gguf file (default: the SmolLM2 wheel)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are kept (default runs/)")
    parser.add_argument("--dry-run", action="store_true", help="validate everything and print the plan, do nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
