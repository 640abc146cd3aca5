"""Every recipe: its plan, and a run of it on nothing."""

from pathlib import Path

import attrs
import pytest

from crucible.cookbook import distill_basic, dpo_basic, rl_basic, sl_basic
from crucible.kitchen import run
from crucible.kitchen.handlers import noop, reasoning_gym

MAINS = [sl_basic.main, dpo_basic.main, rl_basic.main, distill_basic.main]


@pytest.mark.parametrize("main", MAINS, ids=["sl", "dpo", "rl", "distill"])
def test_a_dry_run_prints_the_plan_and_does_nothing(
    main: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main)
    assert main(["--dry-run", "--model", "some/model", "--rows", "8", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("workflow ")
    assert list(tmp_path.iterdir()) == []


def test_preference_learning_raises_the_margin_on_held_out_pairs() -> None:
    recipe = dpo_basic.recipe("noop", num_rows=64)
    eager = attrs.evolve(recipe.default_config, learning_rate=1.0)
    result = run(recipe, noop.all() | reasoning_gym.datasets(), eager).unwrap()
    margins = [point.value for point in result.metrics if point.name == "held_out/margin"]
    assert margins[-1] > margins[0]


def test_reinforcement_asks_the_verifier_for_every_reward() -> None:
    recipe = rl_basic.recipe("noop", num_rows=16)
    handlers = noop.all() | reasoning_gym.datasets() | reasoning_gym.verifier()
    result = run(recipe, handlers).unwrap()
    rewards = [point.value for point in result.metrics if point.name == "rollout/reward_mean"]
    correct = [point.value for point in result.metrics if point.name == "rollout/env/correct"]
    assert len(rewards) == len(correct) == 4  # two rounds of eight problems, twice
    assert all(0.0 <= value <= 1.0 for value in correct)


def test_the_student_is_distilled_from_the_teacher_that_was_trained_before_it() -> None:
    recipe = distill_basic.recipe("noop", num_rows=32)
    teacher = attrs.evolve(recipe.default_config.teacher, learning_rate=1.0)
    lessons = attrs.evolve(recipe.default_config, teacher=teacher)
    handlers = noop.all() | reasoning_gym.datasets() | reasoning_gym.verifier()
    result = run(recipe, handlers, lessons).unwrap()
    [asked] = result.context.state.config.teachers
    assert asked.weights_path == result.artifacts[0].path
    assert [point.step for point in result.metrics if point.name == "held_out/teacher_kl"] == [0, 2]


def test_what_either_training_gets_wrong_is_named() -> None:
    recipe = distill_basic.recipe("noop", num_rows=32)
    lessons = attrs.evolve(recipe.default_config, teacher=attrs.evolve(recipe.default_config.teacher, eval_every=3))
    assert recipe.validate_config(recipe.default_config) == []
    [problem] = recipe.validate_config(lessons)
    assert problem.startswith("teacher: eval_every is 3")
