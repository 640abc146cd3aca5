"""Packing keeps every item and overfills no bin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.packing import pack

CAPACITY = 20
lengths = st.lists(st.integers(0, CAPACITY), max_size=30)


@given(lengths)
def test_every_item_is_in_one_bin_and_no_bin_is_too_full(lengths: list[int]) -> None:
    bins = pack(lengths, capacity=CAPACITY)
    assert sorted(index for one in bins for index in one) == list(range(len(lengths)))
    assert sum(lengths[index] for one in bins for index in one) == sum(lengths)
    assert all(one for one in bins)
    assert all(sum(lengths[index] for index in one) <= CAPACITY for one in bins)


@given(lengths)
def test_no_two_bins_could_be_one(lengths: list[int]) -> None:
    fills = [sum(lengths[index] for index in one) for one in pack(lengths, capacity=CAPACITY)]
    assert all(a + b > CAPACITY for i, a in enumerate(fills) for b in fills[i + 1 :])


@given(st.lists(st.integers(1, CAPACITY), max_size=30))
def test_there_are_at_most_11_ninths_of_the_fewest_bins(lengths: list[int]) -> None:
    least = -(-sum(lengths) // CAPACITY)  # no fewer bins hold so many tokens
    halves = sum(length > CAPACITY // 2 for length in lengths)  # no two of these share a bin
    found = len(pack(lengths, capacity=CAPACITY))
    assert max(least, halves) <= found <= 2 * max(least, 1)


@pytest.mark.parametrize("lengths", [[3, 21], [3, -1]])
def test_what_fits_no_bin_is_named(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="item 1 has length"):
        pack(lengths, capacity=CAPACITY)
