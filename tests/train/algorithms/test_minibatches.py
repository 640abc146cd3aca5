"""Minibatches hold every example once in each epoch, and the same ones in each run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.minibatches import minibatches

counts = st.integers(1, 8)


@given(st.integers(0, 60), counts, counts, st.integers())
def test_every_epoch_holds_every_example_once(size: int, parts: int, epochs: int, seed: int) -> None:
    made = minibatches(size, num_minibatches=parts, num_epochs=epochs, seed=seed)
    assert made == minibatches(size, num_minibatches=parts, num_epochs=epochs, seed=seed)
    assert len(made) == epochs
    for epoch in made:
        assert sorted(index for batch in epoch for index in batch) == list(range(size))
        sizes = [len(batch) for batch in epoch]
        assert len(sizes) == min(parts, size)
        assert not sizes or (min(sizes) >= 1 and max(sizes) - min(sizes) <= 1)


def test_epochs_differ() -> None:
    first, second = minibatches(30, num_minibatches=2, num_epochs=2)
    assert first != second


@pytest.mark.parametrize(("parts", "epochs"), [(0, 1), (1, 0)])
def test_no_minibatch_is_refused(parts: int, epochs: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        minibatches(3, num_minibatches=parts, num_epochs=epochs)
