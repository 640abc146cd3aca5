"""Trajectories and what is made of them."""

import pytest

from crucible.effects import decode, encode
from crucible.train.types import (
    Datum,
    ModelInput,
    PolicyDatum,
    TensorData,
    TokensWithLogprobs,
    Trajectory,
    TrajectoryGroup,
    Transition,
)

STEP = Transition(
    observation=ModelInput.from_tokens([1]),
    action=TokensWithLogprobs(tokens=(2, 3), maybe_logprobs=(-1.0, -2.0)),
    reward=0.5,
)


def test_rewards_of_steps_and_group_add_up() -> None:
    trajectory = Trajectory(transitions=(STEP, STEP))
    assert (trajectory.total_reward, trajectory.num_action_tokens) == (1.0, 4)
    group = TrajectoryGroup(trajectories_G=(trajectory, Trajectory(transitions=())), final_rewards_G=(1.0, 3.0))
    assert group.total_rewards == (2.0, 3.0)
    assert group.metrics_G == ({}, {})
    assert decode(encode(group)) == group


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 log-probabilities for 1"):
        TokensWithLogprobs(tokens=(1,), maybe_logprobs=(0.0, 0.0))
    with pytest.raises(ValueError, match="no log-probabilities"):
        _ = TokensWithLogprobs(tokens=(1,)).logprobs
    with pytest.raises(ValueError, match="a group of 1 trajectories has 2 rewards"):
        TrajectoryGroup(trajectories_G=(Trajectory(transitions=()),), final_rewards_G=(0.0, 1.0))


def test_a_policy_datum_holds_what_a_policy_loss_takes_and_no_more() -> None:
    zeros = TensorData.floats([0.0])
    inputs = {"target_tokens": TensorData.ints([2]), "logprobs": zeros, "advantages": zeros}
    datum = Datum(model_input=ModelInput.from_tokens([1]), loss_fn_inputs=inputs)
    assert PolicyDatum(datum=datum, mask_N=(1.0,)).with_advantages((3.0,)).advantages == (3.0,)
    with pytest.raises(ValueError, match="a mask of 2 for 1"):
        PolicyDatum(datum=datum, mask_N=(1.0, 0.0))
    with pytest.raises(ValueError, match=r"not .*'mask'"):
        PolicyDatum(datum=Datum(model_input=datum.model_input, loss_fn_inputs={**inputs, "mask": zeros}), mask_N=(1.0,))
