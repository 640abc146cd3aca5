"""Algorithms as data and built-in losses."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.advantages import centred
from crucible.train.algorithms.aggregation import Aggregation
from crucible.train.algorithms.policy_gradient import (
    PolicyGradient,
    cispo,
    dapo,
    dr_grpo,
    dro_quadratic,
    grpo,
    policy_batch,
    reinforce,
    rloo,
)
from crucible.train.types import TrajectoryGroup
from tests.train.algorithms.policies import group_of, one_step

ALGORITHMS = [reinforce(), rloo(), grpo(), grpo(divide_by_std=False), dr_grpo(max_tokens=8), dapo(), cispo()]
rewards = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=4)


def per_trajectory(groups: list[TrajectoryGroup], algorithm: PolicyGradient) -> list[float]:
    """Give the sum of the advantages of each trajectory's tokens, in order."""
    return [sum(made.advantages) for made in policy_batch(groups, algorithm).data]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=range(len(ALGORITHMS)))
@given(groups=st.lists(rewards, min_size=1, max_size=4))
def test_advantages_sum_to_0_in_each_group_of_equal_lengths(
    algorithm: PolicyGradient, groups: list[list[float]]
) -> None:
    batch = policy_batch([group_of(*one) for one in groups], algorithm)
    for index in range(len(groups)):
        total = sum(sum(made.advantages) for made in batch.data if made.group == index)
        assert total == pytest.approx(0, abs=1e-9)


@given(st.lists(rewards, min_size=1, max_size=5))
def test_dropping_groups_keeps_what_is_known_of_each_environment_with_it(groups: list[list[float]]) -> None:
    made = [
        attrs.evolve(group_of(*one), metrics_G=tuple({"env": float(10 * i + j)} for j in range(len(one))))
        for i, one in enumerate(groups)
    ]
    batch = policy_batch(made, reinforce())
    assert batch.kept_groups == tuple(i for i, one in enumerate(groups) if len(set(one)) > 1)
    for datum in batch.data:
        assert datum.group in batch.kept_groups
        assert made[datum.group].metrics_G[datum.trajectory]["env"] == 10 * datum.group + datum.trajectory
        expected = centred(groups[datum.group])[datum.trajectory]
        assert datum.advantages == pytest.approx([advantage * expected for advantage in datum.mask_N])


def test_the_groups_rewards_count() -> None:
    group = TrajectoryGroup(trajectories_G=(one_step(0.0), one_step(1.0)), final_rewards_G=(2.0, 0.0))
    assert per_trajectory([group], reinforce()) == [2 * 0.5, 2 * -0.5]


def test_grpo_gives_each_trajectory_the_same_say_and_dapo_each_token() -> None:
    long = one_step(1.0, tokens=(5, 6, 7, 8))
    group = TrajectoryGroup(trajectories_G=(long, one_step(0.0, tokens=(5,))))
    deviation = 0.5**0.5 + 1e-4
    assert per_trajectory([group], grpo()) == pytest.approx([0.5 / deviation / 2, -0.5 / deviation / 2])
    assert per_trajectory([group], dapo()) == pytest.approx([4 * 0.5 / deviation / 5, -0.5 / deviation / 5])
    assert per_trajectory([group], dr_grpo(max_tokens=8)) == pytest.approx([4 * 0.5 / 16, -0.5 / 16])
    assert per_trajectory([group], rloo()) == [4.0, -1.0]


def test_constant_groups_stay_where_the_algorithm_keeps_them() -> None:
    batch = policy_batch([group_of(1.0, 1.0), group_of(0.0, 1.0)], grpo())
    assert batch.kept_groups == (0, 1)
    assert policy_batch([group_of(1.0, 1.0)], dapo()).data == ()


def test_losses_are_named_as_in_the_tinker_api() -> None:
    assert grpo(clip=0.1).loss.loss_fn_config == {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1}
    assert dapo().loss.loss_fn_config == {"clip_low_threshold": 0.8, "clip_high_threshold": 1.28}
    assert cispo(ratio_high=3.0).loss.loss_fn_config == {"clip_low_threshold": 0.0, "clip_high_threshold": 3.0}
    assert (reinforce().loss.loss_fn, reinforce().loss.loss_fn_config) == ("importance_sampling", {})


def test_dro_is_summed_or_refused() -> None:
    algorithm = PolicyGradient(loss=dro_quadratic(beta=0.1), aggregation=Aggregation(kind="token_sum"))
    assert len(policy_batch([group_of(0.0, 1.0)], algorithm).data) == 2
    with pytest.raises(ValueError, match="token_sum"):
        policy_batch([], attrs.evolve(algorithm, aggregation=Aggregation(kind="token_mean")))
