"""Trajectories to data: tokens, log-probabilities and advantages end up where they belong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.train.algorithms.trajectories_to_data import trajectory_to_data
from crucible.train.types import (
    EncodedTextChunk,
    ImageChunk,
    ModelInput,
    PolicyDatum,
    TokensWithLogprobs,
    Trajectory,
    Transition,
)
from tests.train.algorithms.policies import acted

tokens = st.lists(st.integers(0, 50), min_size=1, max_size=4)
IMAGE = ImageChunk(data=b"picture", format="png", expected_tokens=3)


@st.composite
def episodes(draw: st.DrawFn, *, extending: bool) -> Trajectory:
    """Give an episode whose observations extend what was there, or (with a first token of their own) do not."""
    transitions, sequence = [], list[int]()
    for turn in range(draw(st.integers(1, 4))):
        seen = draw(tokens)
        sequence = [*sequence, *seen] if extending else [100 + turn, *seen]
        action = draw(tokens)
        logprobs = tuple(draw(st.floats(-5, -0.1)) for _ in action)
        transitions.append(
            Transition(
                observation=ModelInput.from_tokens(sequence),
                action=TokensWithLogprobs(tokens=tuple(action), maybe_logprobs=logprobs),
            )
        )
        sequence = [*sequence, *action]
    return Trajectory(transitions=tuple(transitions))


def whole(made: PolicyDatum) -> tuple[float, ...]:
    """Give the sequence that a datum was made of."""
    return (*made.datum.model_input.tokens, made.datum.loss_fn_inputs["target_tokens"].data[-1])


def picked(values: tuple[float, ...], made: PolicyDatum) -> list[float]:
    return [value for value, mask in zip(values, made.mask_N, strict=True) if mask]


def actions(trajectory: Trajectory) -> list[int]:
    return [token for step in trajectory.transitions for token in step.action.tokens]


@given(episodes(extending=True), st.floats(-3, 3))
def test_an_episode_that_extends_itself_is_one_datum_and_reads_back(trajectory: Trajectory, advantage: float) -> None:
    (made,) = trajectory_to_data(trajectory, advantage, group=3, index=5)
    last = trajectory.transitions[-1]
    assert whole(made) == (*last.observation.tokens, *last.action.tokens)
    assert made.datum.model_input.tokens[1:] == made.datum.loss_fn_inputs["target_tokens"].data[:-1]
    assert picked(made.datum.loss_fn_inputs["target_tokens"].data, made) == actions(trajectory)
    assert picked(made.logprobs, made) == [x for step in trajectory.transitions for x in step.action.logprobs]
    assert set(picked(made.advantages, made)) == {advantage}
    assert (made.group, made.trajectory) == (3, 5)


@given(episodes(extending=False), st.floats(-3, 3))
def test_an_episode_that_begins_anew_is_one_datum_for_each_turn(trajectory: Trajectory, advantage: float) -> None:
    data = trajectory_to_data(trajectory, advantage)
    assert len(data) == len(trajectory.transitions)
    for made, step in zip(data, trajectory.transitions, strict=True):
        assert whole(made) == (*step.observation.tokens, *step.action.tokens)
    assert [t for made in data for t in picked(made.datum.loss_fn_inputs["target_tokens"].data, made)] == actions(
        trajectory
    )


@given(episodes(extending=True) | episodes(extending=False))
def test_what_was_observed_has_no_log_probability_and_no_advantage(trajectory: Trajectory) -> None:
    for made in trajectory_to_data(trajectory, 1.0):
        for logprob, advantage, mask in zip(made.logprobs, made.advantages, made.mask_N, strict=True):
            assert mask == 1.0 or logprob == advantage == 0.0


@given(episodes(extending=True))
def test_a_backend_never_sees_the_mask(trajectory: Trajectory) -> None:
    (made,) = trajectory_to_data(trajectory, 1.0)
    assert set(made.datum.loss_fn_inputs) == {"target_tokens", "logprobs", "advantages"}
    assert made.scored.loss_fn_inputs["weights"].data == made.mask_N


def two_turns(*, second: ModelInput, action: TokensWithLogprobs = acted(9)) -> Trajectory:
    first = Transition(observation=ModelInput.from_tokens([1, 2]), action=acted(3, 4))
    return Trajectory(transitions=(first, Transition(observation=second, action=action)))


def test_each_step_can_have_an_advantage_of_its_own() -> None:
    (made,) = trajectory_to_data(two_turns(second=ModelInput.from_tokens([1, 2, 3, 4, 5])), (1.0, -2.0))
    assert made.advantages == (0.0, 1.0, 1.0, 0.0, -2.0)
    with pytest.raises(ValueError, match="zip"):
        trajectory_to_data(two_turns(second=ModelInput.from_tokens([1])), (1.0,))


def test_an_observation_that_was_cut_begins_anew() -> None:
    data = trajectory_to_data(two_turns(second=ModelInput.from_tokens([1, 2, 3])), 1.0)
    assert [whole(made) for made in data] == [(1, 2, 3, 4), (1, 2, 3, 9)]


def test_images_are_positions_that_nothing_is_trained_on() -> None:
    second = ModelInput(chunks=(EncodedTextChunk(tokens=(1, 2, 3, 4, 5)), IMAGE, EncodedTextChunk(tokens=(6,))))
    (made,) = trajectory_to_data(two_turns(second=second), 1.0)
    assert made.datum.model_input.chunks == second.chunks
    assert [*made.datum.loss_fn_inputs["target_tokens"].data] == [2, 3, 4, 5, 0, 0, 0, 6, 9]
    assert [*made.mask_N] == [0, 1, 1, 0, 0, 0, 0, 0, 1]
    first = ModelInput(chunks=(IMAGE, EncodedTextChunk(tokens=(7,))))
    (made,) = trajectory_to_data(Trajectory(transitions=(Transition(observation=first, action=acted(8)),)), 1.0)
    assert made.datum.model_input.chunks == first.chunks
    assert made.datum.loss_fn_inputs["target_tokens"].data == (0, 0, 7, 8)


def test_what_comes_after_the_last_action_is_left_out() -> None:
    silent = two_turns(second=ModelInput.from_tokens([1, 2, 3, 4, 5]), action=acted())
    (made,) = trajectory_to_data(silent, 1.0)
    assert whole(made) == (1, 2, 3, 4)
    nothing = Trajectory(transitions=(Transition(observation=ModelInput.from_tokens([1]), action=acted()),))
    assert trajectory_to_data(nothing, 1.0) == ()
    assert trajectory_to_data(Trajectory(transitions=()), 1.0) == ()


def test_what_cannot_be_trained_on_is_refused() -> None:
    unknown = TokensWithLogprobs(tokens=(3,))
    with pytest.raises(ValueError, match="no log-probabilities"):
        trajectory_to_data(two_turns(second=ModelInput.from_tokens([1]), action=unknown), 1.0)
    with pytest.raises(ValueError, match="no tokens"):
        trajectory_to_data(two_turns(second=ModelInput.from_tokens([])), 1.0)
