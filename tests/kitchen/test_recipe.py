"""A recipe is a workflow, a default configuration, and what makes a configuration impossible."""

import attrs
import pytest

from crucible.kitchen import InvalidConfig, Recipe
from tests.kitchen.fakes import Burnt, Cook, Meal, cooking

recipe: Recipe[Meal, Meal, Burnt, Cook] = Recipe(
    name="soup", description="A soup.", workflow=cooking("soup"), default_config=Meal()
)


def test_a_recipe_knows_the_ports_of_its_workflow() -> None:
    assert recipe.required_ports == {Cook}


def test_a_recipe_finds_no_problem_unless_it_is_told_how() -> None:
    assert recipe.validate_config(Meal()) == ()


def test_a_recipe_is_a_frozen_value() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        recipe.name = "fish"  # type: ignore[misc]  # what is tested


def test_an_invalid_configuration_lists_every_problem() -> None:
    assert str(InvalidConfig(problems=("no salt: add some", "too hot: wait"))) == (
        "the configuration cannot be run:\n  - no salt: add some\n  - too hot: wait"
    )
