"""What a configuration refuses when it is made, and what is found before a run."""

from typing import Any

import attrs
import pytest

from crucible.kitchen.config import EvaluationConfig, TrainingConfig, problems_of
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.train.types import DatasetConfig, SessionConfig

GOOD = TrainingConfig(session=SessionConfig(model="m"), dataset=DatasetConfig(name="d"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_rows": 0},
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"warmup_steps": -1},
        {"max_length": 1},
        {"save_every": -1},
        {"eval_every": -1},
    ],
)
def test_a_number_out_of_its_range_is_refused_with_the_name_of_its_field(wrong: dict[str, Any]) -> None:
    [field] = wrong
    with pytest.raises(ValueError, match=field):
        attrs.evolve(GOOD, **wrong)


def test_a_good_configuration_has_no_problems() -> None:
    measured = EvaluationConfig(dataset=DatasetConfig(name="d", split="test"))
    assert problems_of(GOOD) == ()
    assert problems_of(attrs.evolve(GOOD, eval_every=5, evaluation=measured)) == ()


def test_every_problem_is_named_with_its_field_and_its_fix() -> None:
    assert problems_of(attrs.evolve(GOOD, eval_every=5)) == (
        "eval_every is 5 but there is no evaluation: give one, or set eval_every to 0",
    )
    assert problems_of(attrs.evolve(GOOD, evaluation=EvaluationConfig(dataset=GOOD.dataset))) == (
        "evaluation.dataset is the training dataset and split: hold out another split",
    )
    assert problems_of(attrs.evolve(GOOD, resume_from="a", start_from="b")) == (
        "start_from and resume_from are both given: keep one",
    )


def test_held_out_pairs_are_an_evaluation_of_a_preference_run() -> None:
    pairs = PreferenceConfig(session=GOOD.session, dataset=GOOD.dataset, eval_every=5)
    test = DatasetConfig(name="d", split="test")
    assert problems_of(pairs) == problems_of(attrs.evolve(GOOD, eval_every=5)) != ()
    assert problems_of(attrs.evolve(pairs, held_out=test)) == ()
    assert problems_of(attrs.evolve(pairs, evaluation=EvaluationConfig(dataset=test))) == ()
    assert problems_of(attrs.evolve(pairs, held_out=GOOD.dataset)) == (
        "held_out is the training dataset and split: hold out another split",
    )
