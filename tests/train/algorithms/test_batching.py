"""Batches of an epoch: a partition, the same in every run, another in every epoch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.batching import epoch_batches, steps_per_epoch

sizes, batch_sizes, epochs, seeds = st.integers(0, 100), st.integers(1, 20), st.integers(0, 5), st.integers(0, 1000)


@given(sizes, batch_sizes, epochs, seeds)
def test_every_example_is_in_one_batch(size: int, batch_size: int, epoch: int, seed: int) -> None:
    batches = epoch_batches(size, batch_size=batch_size, epoch=epoch, seed=seed)
    assert sorted(index for batch in batches for index in batch) == list(range(size))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(batches)
    assert len(batches) == steps_per_epoch(size, batch_size=batch_size)


@given(sizes, batch_sizes, epochs, seeds)
def test_a_run_can_be_repeated(size: int, batch_size: int, epoch: int, seed: int) -> None:
    one, two = (epoch_batches(size, batch_size=batch_size, epoch=epoch, seed=seed) for _ in range(2))
    assert one == two


@given(epochs, seeds)
def test_epochs_and_seeds_have_orders_of_their_own(epoch: int, seed: int) -> None:
    orders = [
        epoch_batches(40, batch_size=7, epoch=epoch, seed=seed),
        epoch_batches(40, batch_size=7, epoch=epoch + 1, seed=seed),
        epoch_batches(40, batch_size=7, epoch=epoch, seed=seed + 1),
        epoch_batches(40, batch_size=7, epoch=epoch + 1, seed=seed + 1),
    ]
    assert len(set(orders)) == 4


@given(st.integers(1, 100), batch_sizes, batch_sizes, seeds)
def test_the_order_does_not_depend_on_the_batch_size(size: int, one: int, other: int, seed: int) -> None:
    flat = [
        [index for batch in epoch_batches(size, batch_size=batch_size, epoch=0, seed=seed) for index in batch]
        for batch_size in (one, other)
    ]
    assert flat[0] == flat[1]


def test_the_order_is_the_same_in_every_version() -> None:
    assert epoch_batches(8, batch_size=3, epoch=2, seed=5) == ((1, 5, 7), (2, 6, 3), (0, 4))


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_has_at_least_one_example(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        epoch_batches(3, batch_size=batch_size, epoch=0, seed=0)
