"""`Episode` grows by a turn at a time and is cut at its limits; what it was before stays as it was."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Eff, Success, pure
from crucible.train.environments import EnvironmentFailed, Observation, RolloutLimits, State, StepResult
from crucible.train.environments.episodes import Episode
from crucible.train.types import ModelInput, Sample, TokenId


@attrs.frozen(kw_only=True)
class Corridor:
    """A state whose prompt is as long as it has gone."""

    length: int

    @property
    def observation(self) -> Observation:
        return Observation(prompt=ModelInput.from_tokens(range(self.length)))

    def step(self, action: tuple[TokenId, ...], /) -> "Eff[StepResult[object], EnvironmentFailed, object]":
        return pure(StepResult(reward=1.0, next=Corridor(length=self.length + 1)))


def walked(turns: int, *, over: bool = False) -> Episode[object]:
    """Walk some turns, of reward 0, 1, 2, ...; the last ends the episode where it is `over`."""
    episode: Episode[object] = Episode(state=Corridor(length=1))
    for turn in range(turns):
        state: State[object] | None = None if over and turn == turns - 1 else Corridor(length=turn + 2)
        result = StepResult(
            reward=float(turn),
            next=state,
            metrics={"turn": float(turn)},
            final_observation=ModelInput.from_tokens([99]) if state is None else ModelInput(chunks=()),
        )
        assert episode.state is not None
        episode = episode.after(episode.state.observation.prompt, drawn(turn), result).unwrap()
    return episode


def drawn(turn: int) -> Sample:
    return Sample(tokens=(turn, 7), logprobs=(-0.5, -0.25), stop_reason="stop")


def test_a_turn_keeps_what_was_seen_done_and_earned() -> None:
    episode = walked(3, over=True)
    assert episode.state is None
    turns = episode.trajectory.transitions
    assert [len(turn.observation) for turn in turns] == [1, 2, 3]
    assert [turn.action.tokens for turn in turns] == [(0, 7), (1, 7), (2, 7)]
    assert [turn.action.logprobs for turn in turns] == [(-0.5, -0.25)] * 3
    assert [turn.reward for turn in turns] == [0.0, 1.0, 2.0]
    assert [turn.episode_done for turn in turns] == [False, False, True]
    assert episode.trajectory.total_reward == 3.0
    assert episode.trajectory.final_observation.tokens == (99,)


def test_a_turn_leaves_the_episode_before_it_as_it_was() -> None:
    before = walked(1)
    assert before.state is not None
    after = before.after(before.state.observation.prompt, drawn(1), StepResult(reward=1.0)).unwrap()
    assert len(before.transitions) == 1
    assert len(after.transitions) == 2
    assert after.state is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_reward_or_a_metric_that_is_no_number_fails_the_episode_with_its_turn(number: float) -> None:
    before = walked(2)
    assert before.state is not None
    prompt = before.state.observation.prompt
    results: dict[str, StepResult[object]] = {
        "reward": StepResult(reward=number),
        "tokens": StepResult(reward=1.0, metrics={"fine": 1.0, "tokens": number}),
    }
    for what, result in results.items():
        error = before.after(prompt, drawn(2), result).failure()
        assert str(error) == f"turn 3: {what} is {number}"


@given(st.integers(0, 6), st.integers(1, 6), st.none() | st.integers(1, 8))
def test_an_episode_is_cut_exactly_when_a_limit_is_reached(turns: int, most: int, tokens: int | None) -> None:
    episode, limits = walked(turns), RolloutLimits(max_turns=most, max_prompt_tokens=tokens)
    prompt = turns + 1
    allowed = turns < most and (tokens is None or prompt <= tokens)
    assert episode.state is not None
    assert limits.allow(episode.state, turns) == allowed
    result = episode.within(limits)
    if allowed:
        assert result == Success(episode)
    elif not turns:
        assert isinstance(result.failure(), EnvironmentFailed)
    else:
        cut = result.unwrap()
        assert cut.state is None
        assert cut.transitions[:-1] == episode.transitions[:-1]
        assert cut.transitions[-1].metrics == {"turn": float(turns - 1), "truncated": 1.0}
        assert not cut.transitions[-1].episode_done
        assert len(cut.trajectory.final_observation) == prompt
        assert cut.trajectory.total_reward == episode.trajectory.total_reward


@given(st.integers(1, 5), st.integers(1, 5))
def test_an_episode_that_is_over_is_not_cut(turns: int, most: int) -> None:
    episode = walked(turns, over=True)
    assert episode.within(RolloutLimits(max_turns=most, max_prompt_tokens=1)) == Success(episode)


def test_a_first_prompt_that_is_too_long_says_by_how_much() -> None:
    episode: Episode[object] = Episode(state=Corridor(length=9))
    error = episode.within(RolloutLimits(max_prompt_tokens=8)).failure()
    assert str(error) == "the first prompt has 9 tokens, at most 8 are allowed"


@pytest.mark.parametrize("wrong", [{"max_turns": 0}, {"max_prompt_tokens": 0}])
def test_limits_leave_room_for_one_turn(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RolloutLimits(**wrong)
