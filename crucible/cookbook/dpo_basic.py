"""`dpo_basic`: teach SmolLM2-135M to prefer right sums to wrong ones by DPO, on this machine.

    python -m crucible.cookbook.dpo_basic

It measures margin and accuracy on held-out pairs before and after.
"""

import sys
from collections.abc import Sequence

from crucible.cookbook.launch import Program, launch
from crucible.cookbook.machine import MachinePorts, this_machine
from crucible.kitchen import Recipe
from crucible.kitchen.config import problems_of
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.stages.preference import PreferenceConfig, PreferenceState
from crucible.kitchen.workflows.preference import preference
from crucible.train.errors import TrainError
from crucible.train.types import DatasetConfig, LoraConfig, SessionConfig

TASK = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}


def recipe(
    model: str, seed: int = 0, num_rows: int = 160
) -> Recipe[PreferenceConfig, PreferenceState, TrainError | KitchenError, MachinePorts]:
    """Make the recipe: `num_rows` problems, each with its right answer and a wrong one, in steps of 8 pairs."""
    options = {"size": num_rows, "seed": seed, **TASK}
    config = PreferenceConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=16, seed=seed)),
        dataset=DatasetConfig(name="chain_sum", options=options),
        held_out=DatasetConfig(name="chain_sum", split="test", options=options),
        batch_size=8,
        learning_rate=2e-4,
        schedule="cosine",
        warmup_steps=3,
        beta=0.1,
        seed=seed,
    )
    return Recipe(
        name="dpo_basic",
        description="DPO of a small model on right and wrong answers to a procedurally generated task.",
        workflow=preference,
        default_config=config,
        validate_config=problems_of,
    )


PROGRAM = Program(
    recipe_of=recipe,
    handlers=this_machine,
    num_rows=160,
    shown=(
        ("held_out/accuracy", "share of held-out pairs ranked right"),
        ("held_out/margin", "margin on held-out pairs"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit status."""
    return launch(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
