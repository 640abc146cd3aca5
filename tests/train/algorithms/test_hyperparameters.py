"""Rules of thumb."""

import pytest

from crucible.train.algorithms.hyperparameters import (
    ModelFamily,
    full_learning_rate,
    lora_learning_rate,
    lora_parameters,
)


@pytest.mark.parametrize(
    ("size", "family", "rate"),
    [(4096, "llama", 2.856e-4), (4096, "qwen", 4.730e-4), (2000, "other", 5e-4)],
)
def test_the_rates_are_those_of_the_tinker_cookbook(size: int, family: ModelFamily, rate: float) -> None:
    assert lora_learning_rate(size, family=family) == pytest.approx(rate, rel=1e-3)
    assert full_learning_rate(size, family=family) == pytest.approx(rate / 10, rel=1e-3)


def test_larger_models_learn_more_slowly() -> None:
    rates = [lora_learning_rate(size) for size in (576, 2048, 8192)]
    assert rates == sorted(rates, reverse=True)


def test_a_model_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="not 0"):
        full_learning_rate(0)


def test_lora_trains_a_row_and_a_column_for_each_rank() -> None:
    assert lora_parameters(2, ((3, 5),)) == 2 * (3 + 5)
