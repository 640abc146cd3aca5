"""Data that a policy made, drawn by hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

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

Row = Sequence[float]


def policy_datum(logprobs: Row, advantages: Row, mask: Row, *, group: int = 0, trajectory: int = 0) -> PolicyDatum:
    """Make a datum; where the mask is 0, log-probability and advantage are too."""
    inputs = {
        "target_tokens": TensorData.ints(range(len(mask))),
        "logprobs": TensorData.floats([value * on for value, on in zip(logprobs, mask, strict=True)]),
        "advantages": TensorData.floats([value * on for value, on in zip(advantages, mask, strict=True)]),
    }
    datum = Datum(model_input=ModelInput.from_tokens([7] * len(mask)), loss_fn_inputs=inputs)
    return PolicyDatum(datum=datum, mask_N=tuple(mask), group=group, trajectory=trajectory)


MASKS = ((0.0, 1.0, 1.0), (0.0, 1.0), (0.0, 1.0, 0.0, 1.0))
SHAPE = tuple(map(len, MASKS))

_numbers = st.floats(-4, 0)


@st.composite
def policy_data(draw: st.DrawFn) -> tuple[PolicyDatum, ...]:
    """Give three data of two trajectories: the last one made two."""
    made = []
    for mask, trajectory in zip(MASKS, (0, 1, 1), strict=True):
        size = len(mask)
        logprobs = draw(st.lists(_numbers, min_size=size, max_size=size))
        advantages = draw(st.lists(st.floats(-2, 2), min_size=size, max_size=size))
        made.append(policy_datum(logprobs, advantages, mask, trajectory=trajectory))
    return tuple(made)


def acted(*tokens: int, logprob: float = -0.5) -> TokensWithLogprobs:
    return TokensWithLogprobs(tokens=tokens, maybe_logprobs=(logprob,) * len(tokens))


def one_step(reward: float, *, tokens: Sequence[int] = (5, 6)) -> Trajectory:
    """Make an episode of one step."""
    step = Transition(
        observation=ModelInput.from_tokens([1, 2]), action=acted(*tokens), reward=reward, episode_done=True
    )
    return Trajectory(transitions=(step,))


def group_of(*rewards: float) -> TrajectoryGroup:
    return TrajectoryGroup(trajectories_G=tuple(map(one_step, rewards)))
