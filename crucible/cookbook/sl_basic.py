"""`sl_basic`: teach SmolLM2-135M a reasoning-gym task by supervised fine-tuning, on this machine.

    python -m crucible.cookbook.sl_basic              # or: make demo

It measures accuracy on held-out problems before and after, and leaves metrics, a plot of the loss and the trained
adapter in `runs/<run id>/`.
"""

import sys
from collections.abc import Sequence

from crucible.cookbook.launch import Program, launch
from crucible.cookbook.machine import MachinePorts, this_machine
from crucible.kitchen import Recipe
from crucible.kitchen.config import EvaluationConfig, problems_of
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.train.errors import TrainError
from crucible.train.types import DatasetConfig, LoraConfig, SessionConfig

TASK = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}


def recipe(
    model: str, seed: int = 0, num_rows: int = 640
) -> Recipe[SupervisedConfig, SupervisedState, TrainError | KitchenError, MachinePorts]:
    """Make the recipe: sums and differences of two numbers, one pass over `num_rows` problems in steps of 16."""
    problems = DatasetConfig(name="chain_sum", options={"size": num_rows, "seed": seed, **TASK})
    held_out = DatasetConfig(name="chain_sum", split="test", options=problems.options)
    config = SupervisedConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=16, seed=seed)),
        dataset=problems,
        batch_size=16,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=5,
        seed=seed,
        evaluation=EvaluationConfig(dataset=held_out, num_examples=100, max_tokens=16),
    )
    return Recipe(
        name="sl_basic",
        description="Supervised fine-tuning of a small model on a procedurally generated task.",
        workflow=supervised,
        default_config=config,
        validate_config=problems_of,
    )


PROGRAM = Program(
    recipe_of=recipe,
    handlers=this_machine,
    num_rows=640,
    shown=(("eval/accuracy", "accuracy on held-out problems"),),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit status."""
    return launch(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
