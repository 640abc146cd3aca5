"""`rl_basic`: SmolLM2-135M learns to add by trial and error (GRPO), on this machine.

    python -m crucible.cookbook.rl_basic

The reward is the task's own verifier: 1 for the right number alone, less for one inside a sentence.
"""

import sys
from collections.abc import Sequence

from crucible.cookbook.launch import Program, launch
from crucible.cookbook.machine import MachinePorts, this_machine
from crucible.effects import Eff, from_result
from crucible.kitchen import Recipe
from crucible.kitchen.config import EvaluationConfig, problems_of
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.reinforcement import ReinforcementConfig, ReinforcementState
from crucible.kitchen.workflows.reinforcement import reinforcement
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.environments import ProblemEnv
from crucible.train.errors import TrainError
from crucible.train.renderers import Renderer
from crucible.train.types import DatasetConfig, LoraConfig, Row, SessionConfig

RULES = RowRules(dataset="chain_sum")
TASK = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}


def problem(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    """Make a row the environment in which its question is asked once, and the verifier judges."""
    return from_result(row_environment(row, renderer, RULES))


def recipe(
    model: str, seed: int = 0, num_rows: int = 160
) -> Recipe[ReinforcementConfig, ReinforcementState, TrainError | KitchenError, MachinePorts]:
    """Make the recipe: rounds of 8 problems, 8 answers to each, every problem twice.

    There are 200 problems of this kind in all, so the training takes few: the more it took, the fewer would be left to hold out.
    """
    options = {"size": num_rows, "seed": seed, **TASK}
    held_out = DatasetConfig(name="chain_sum", split="test", options=options)
    config = ReinforcementConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=16, seed=seed)),
        dataset=DatasetConfig(name="chain_sum", options=options),
        epochs=2,
        batch_size=8,
        group_size=8,
        max_tokens=16,
        algorithm=grpo(),
        learning_rate=5e-4,
        schedule="constant",
        warmup_steps=2,
        seed=seed,
        evaluation=EvaluationConfig(dataset=held_out, num_examples=100, max_tokens=20),
    )
    return Recipe(
        name="rl_basic",
        description="GRPO of a small model on a procedurally generated task with its verifier as reward.",
        workflow=reinforcement(problem),
        default_config=config,
        validate_config=problems_of,
    )


PROGRAM = Program(
    recipe_of=recipe,
    handlers=this_machine,
    num_rows=160,
    shown=(("rl/reward_mean", "mean reward of a round"), ("eval/accuracy", "accuracy on held-out problems")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit status."""
    return launch(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
