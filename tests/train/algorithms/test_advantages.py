"""Advantages: what they sum to, what they are against torch, and which groups teach nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.advantages import (
    Baseline,
    centred,
    generalised_advantages,
    group_advantages,
    informative_groups,
    leave_one_out,
    overlong_penalty,
    standardised,
)

rewards = st.lists(st.floats(-100, 100), min_size=1, max_size=12)
finite = st.floats(-1e300, 1e300)
BASELINES: tuple[Baseline, ...] = ("mean", "mean_and_std", "leave_one_out")


@pytest.mark.parametrize("baseline", BASELINES)
@given(rewards=rewards)
def test_the_advantages_of_a_group_sum_to_0(baseline: Baseline, rewards: list[float]) -> None:
    advantages = group_advantages(rewards, baseline)
    assert len(advantages) == len(rewards)
    assert sum(advantages) == pytest.approx(0, abs=1e-7 * (1 + sum(map(abs, advantages))))


@pytest.mark.parametrize("baseline", BASELINES)
@given(rewards=rewards, shift=st.floats(-10, 10))
def test_what_all_of_a_group_get_changes_nothing(baseline: Baseline, rewards: list[float], shift: float) -> None:
    moved = group_advantages([reward + shift for reward in rewards], baseline)
    assert moved == pytest.approx(group_advantages(rewards, baseline), abs=1e-6)


@given(rewards)
def test_without_baseline_advantages_are_rewards(rewards: list[float]) -> None:
    assert group_advantages(rewards, "none") == tuple(rewards)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_standardised_as_torch_has_it(rewards: list[float]) -> None:
    at = torch.tensor(rewards, dtype=torch.float64)
    expected = (at - at.mean()) / (at.std() + 1e-4)
    assert standardised(rewards) == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_leave_one_out_compares_with_the_mean_of_the_others(rewards: list[float]) -> None:
    others = [(sum(rewards) - reward) / (len(rewards) - 1) for reward in rewards]
    expected = [reward - other for reward, other in zip(rewards, others, strict=True)]
    assert leave_one_out(rewards) == pytest.approx(expected, abs=1e-9)


@given(st.lists(finite, max_size=6))
def test_advantages_of_finite_rewards_are_finite(rewards: list[float]) -> None:
    scaled = [reward / 10 for reward in rewards]
    assert all(map(math.isfinite, (*centred(scaled), *standardised(scaled), *leave_one_out(scaled))))


def test_no_trajectories_have_no_advantages() -> None:
    assert centred([]) == standardised([]) == leave_one_out([]) == ()


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 0.1 + 0.2, 0.3]), max_size=4), max_size=6))
def test_groups_that_are_kept_are_those_whose_rewards_differ(groups: list[list[float]]) -> None:
    kept = informative_groups(groups)
    assert list(kept) == sorted(set(kept))
    for index, group in enumerate(groups):
        assert (index in kept) == (len({round(reward, 6) for reward in group}) > 1)


steps = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=8)
shares = st.floats(0, 1)


@given(steps, shares, shares, st.floats(-5, 5))
def test_gae_is_the_discounted_sum_of_td_errors(
    steps: list[tuple[float, float]], discount: float, trace: float, final: float
) -> None:
    rewards, values = (list(column) for column in zip(*steps, strict=True))
    following = [*values[1:], final]
    errors = [r + discount * n - v for r, n, v in zip(rewards, following, values, strict=True)]
    expected = [sum((discount * trace) ** j * e for j, e in enumerate(errors[t:])) for t in range(len(errors))]
    found = generalised_advantages(rewards, values, discount=discount, trace=trace, final_value=final)
    assert found == pytest.approx(expected, abs=1e-9)


@given(steps)
def test_gae_with_full_trace_is_the_return_minus_the_value(steps: list[tuple[float, float]]) -> None:
    rewards, values = (list(column) for column in zip(*steps, strict=True))
    expected = [sum(rewards[t:]) - values[t] for t in range(len(rewards))]
    assert generalised_advantages(rewards, values, trace=1.0) == pytest.approx(expected, abs=1e-9)


def test_gae_wants_a_value_for_each_reward() -> None:
    with pytest.raises(ValueError, match="zip"):
        generalised_advantages([1.0], [])


@given(st.integers(0, 200), st.integers(1, 100), st.integers(0, 100))
def test_the_penalty_for_length_falls_from_0_to_minus_1(size: int, limit: int, buffer: int) -> None:
    penalty = overlong_penalty(size, max_tokens=limit, buffer_tokens=buffer)
    assert -1 <= penalty <= 0
    assert penalty >= overlong_penalty(size + 1, max_tokens=limit, buffer_tokens=buffer)
    assert (penalty == 0) == (size <= limit - buffer)
