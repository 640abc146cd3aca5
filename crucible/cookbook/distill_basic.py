"""`distill_basic`: SmolLM2-135M learns sums from a teacher that was taught them, on its own answers, on this machine.

    python -m crucible.cookbook.distill_basic

Two workflows in one: `supervised` makes the teacher, `distillation` shows the untrained model what that teacher thinks of
each token it says. It measures the KL to the teacher, and accuracy, on held-out problems before and after.
"""

import sys
from collections.abc import Sequence

import attrs

from crucible.cookbook import sl_basic
from crucible.cookbook.launch import Program, launch
from crucible.cookbook.machine import MachinePorts, this_machine
from crucible.kitchen import Recipe, zoom
from crucible.kitchen.config import EvaluationConfig, problems_of
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.stages.distillation import DistillationConfig, DistillationState
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import distillation, supervised
from crucible.train.errors import TrainError
from crucible.train.types import LoraConfig, SamplingConfig, SessionConfig


@attrs.frozen(kw_only=True)
class Lessons:
    """A teacher's training, and its student's; whatever the student's `teachers` say, the trained one takes their place."""

    teacher: SupervisedConfig
    student: DistillationConfig


def taught(lessons: Lessons, trained: SupervisedState) -> Lessons:
    """Give the student its teacher: the model with the weights that were trained."""
    if trained.final_weights is None:
        raise ValueError("the teacher has no weights: end its workflow with save_final_weights")
    teacher = SamplingConfig(model=lessons.teacher.session.model, weights_path=trained.final_weights.path)
    return attrs.evolve(lessons, student=attrs.evolve(lessons.student, teachers=(teacher,)))


def problems(lessons: Lessons) -> Sequence[str]:
    """Name what makes either training impossible."""
    parts = {"teacher": lessons.teacher, "student": lessons.student}
    return [f"{name}: {problem}" for name, config in parts.items() for problem in problems_of(config)]


def first(lessons: Lessons) -> SupervisedConfig:
    """Give what the teacher is trained with."""
    return lessons.teacher


def then(lessons: Lessons) -> DistillationConfig:
    """Give what the student is trained with."""
    return lessons.student


def graduated(lessons: Lessons, student: DistillationState) -> DistillationState:
    """Keep the student."""
    return student


teach_and_distill = (zoom(first, taught, supervised) >> zoom(then, graduated, distillation)).named("teach_and_distill")


def recipe(
    model: str, seed: int = 0, num_rows: int = 320
) -> Recipe[Lessons, DistillationState, TrainError | KitchenError, MachinePorts]:
    """Make the recipe: the teacher learns from `num_rows` problems, the student answers the same, 16 in a round."""
    teacher = attrs.evolve(sl_basic.recipe(model, seed, num_rows).default_config, evaluation=None)
    held_out = attrs.evolve(teacher.dataset, split="test")
    student = DistillationConfig(
        session=SessionConfig(model=model, lora=LoraConfig(rank=16, seed=seed)),
        dataset=teacher.dataset,
        teachers=(SamplingConfig(model=model),),
        batch_size=16,
        group_size=2,
        max_tokens=16,
        learning_rate=5e-4,
        schedule="constant",
        warmup_steps=2,
        seed=seed,
        evaluation=EvaluationConfig(dataset=held_out, num_examples=64, max_tokens=16),
    )
    return Recipe(
        name="distill_basic",
        description="On-policy distillation of a small model from one that was fine-tuned on the task.",
        workflow=teach_and_distill,
        default_config=Lessons(teacher=teacher, student=student),
        validate_config=problems,
    )


PROGRAM = Program(
    recipe_of=recipe,
    handlers=this_machine,
    num_rows=320,
    shown=(
        ("held_out/teacher_kl", "KL to the teacher on held-out problems (nats per token)"),
        ("eval/accuracy", "accuracy on held-out problems"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recipe from the command line; give the exit status."""
    return launch(PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
