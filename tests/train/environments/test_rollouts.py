"""Groups: one problem tried many times, where a failure costs what failed and nothing else."""

import math
from collections.abc import Sequence
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Eff, fail, pure
from crucible.train.environments import (
    EnvironmentFailed,
    EnvironmentGroup,
    GroupReward,
    MessageEnv,
    ProblemEnv,
    Reply,
    RolloutLimits,
    StopCondition,
    rollout_group,
    rollout_together,
)
from crucible.train.types import Message, ModelInput, Sample, text_of
from crucible.train.types.trajectories import Trajectory
from tests.train.environments.policies import NOTHING, RENDERER, Policy, always, sample_of

QUESTION = (Message(role="user", content="2+2?"),)
BROKEN = EnvironmentFailed(message="the grader is gone")


def graded(text: str) -> Eff[float, EnvironmentFailed, Never]:
    return fail(BROKEN) if text == "crash" else pure(float(text == "4"))


PROBLEM = ProblemEnv(messages=QUESTION, renderer=RENDERER, score=graded)
answers = st.lists(st.sampled_from(["4", "5", "crash", "mute"]), min_size=1, max_size=6)


def saying(texts: Sequence[str], index: int) -> Policy:
    if texts[index] == "mute":
        return lambda prompt, stop: fail(f"no sample for {index}")
    return always(texts[index])


def by_length(trajectories: Sequence[Trajectory]) -> Eff[list[GroupReward], Never, Never]:
    """Reward the place of each trajectory among those that finished."""
    return pure([GroupReward(reward=float(i), metrics={"place": float(i)}) for i in range(len(trajectories))])


@given(answers, st.none() | st.integers(1, 3))
def test_a_failure_costs_its_own_trajectory(texts: list[str], at_once: int | None) -> None:
    group = EnvironmentGroup(environment=PROBLEM, size=len(texts))
    found = NOTHING.run(rollout_group(group, lambda index: saying(texts, index), at_once=at_once)).unwrap()
    fine = [index for index, text in enumerate(texts) if text in {"4", "5"}]
    assert list(found.indices) == fine
    assert found.trajectories.total_rewards == tuple(float(texts[index] == "4") for index in fine)
    assert [failure.index for failure in found.failures] == [i for i in range(len(texts)) if i not in fine]
    for failure in found.failures:
        assert failure.error == (BROKEN if texts[failure.index] == "crash" else f"no sample for {failure.index}")


@given(answers)
def test_metrics_stay_with_their_trajectory(texts: list[str]) -> None:
    group = EnvironmentGroup(environment=PROBLEM, size=len(texts), compare=by_length)
    found = NOTHING.run(rollout_group(group, lambda index: saying(texts, index))).unwrap()
    for place, index in enumerate(found.indices):
        assert found.trajectories.metrics_G[place] == {"place": float(place)}
        correct = found.trajectories.trajectories_G[place].transitions[0].metrics["correct"]
        assert correct == float(texts[index] == "4")
        assert found.trajectories.total_rewards[place] == correct + place


def test_all_of_a_group_see_the_same_problem() -> None:
    group = EnvironmentGroup(environment=PROBLEM, size=4)
    found = NOTHING.run(rollout_group(group, lambda index: always(str(index)))).unwrap()
    assert len({trajectory.transitions[0].observation for trajectory in found.trajectories.trajectories_G}) == 1


@pytest.mark.parametrize(
    ("given", "lost", "why"),
    [
        ([GroupReward(reward=1.0), GroupReward(reward=math.nan)], [1], "compared with its group: reward is nan"),
        ([GroupReward(metrics={"rank": math.inf}), GroupReward()], [0], "compared with its group: rank is inf"),
        ([GroupReward()], [0, 1], "the group was given 1 rewards for 2 trajectories"),
    ],
)
def test_a_reward_of_a_group_that_is_none_loses_its_trajectory(
    given: list[GroupReward], lost: list[int], why: str
) -> None:
    group = EnvironmentGroup(environment=PROBLEM, size=2, compare=lambda trajectories: pure(given))
    done = NOTHING.run(rollout_group(group, lambda index: always("4"))).unwrap()
    assert [failure.index for failure in done.failures] == lost
    assert {str(failure.error) for failure in done.failures} == {why}
    assert done.indices == tuple(index for index in (0, 1) if index not in lost)
    assert len(done.trajectories.total_rewards) == len(done.indices)


def test_a_group_that_cannot_compare_loses_its_trajectories_and_says_why() -> None:
    group = EnvironmentGroup(environment=PROBLEM, size=2, compare=lambda trajectories: fail(BROKEN))
    found = NOTHING.run(rollout_group(group, lambda index: always("4"))).unwrap()
    assert (found.indices, found.trajectories.trajectories_G) == ((), ())
    assert [(failure.index, failure.error) for failure in found.failures] == [(0, BROKEN), (1, BROKEN)]


def test_a_group_has_someone_in_it() -> None:
    with pytest.raises(ValueError, match="size"):
        EnvironmentGroup(environment=PROBLEM, size=0)


def count(conversation: tuple[Message, ...]) -> Eff[Reply, EnvironmentFailed, Never]:
    """Ask on until the policy says `stop`; `crash` breaks it."""
    said = text_of(conversation[-1])
    if said == "crash":
        return fail(BROKEN)
    asked = Message(role="user", content=f"And {len(conversation)}?")
    return pure(Reply(messages=(asked,), reward=float(len(conversation)), done=said == "stop"))


def deterministic(prompt: ModelInput, number: int) -> Sample:
    """Draw a sample that only the prompt and its number tell."""
    choice = (sum(prompt.tokens) + 7 * len(prompt) + 3 * number) % 4
    return sample_of(("stop", "on", "on", "crash")[choice])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5))
def test_turn_by_turn_gives_the_trajectories_that_one_by_one_gives(sizes: list[int], max_turns: int) -> None:
    limits = RolloutLimits(max_turns=max_turns)
    groups = [
        EnvironmentGroup(
            environment=MessageEnv(messages=(Message(role="user", content="x" * i),), renderer=RENDERER, respond=count),
            size=1,
        )
        for i, size in enumerate(sizes, start=1)
        for _ in range(size)
    ]

    def many(
        prompts: Sequence[ModelInput], stop: StopCondition, num_samples: int, turn: int
    ) -> Eff[tuple[tuple[Sample, ...], ...], Never, Never]:
        return pure(tuple((deterministic(prompt, 0),) * num_samples for prompt in prompts))

    together = NOTHING.run(rollout_together(groups, many, limits)).unwrap()
    apart = [
        NOTHING.run(
            rollout_group(group, lambda index: lambda prompt, stop: pure(deterministic(prompt, 0)), limits)
        ).unwrap()
        for group in groups
    ]
    assert [(it.trajectories, it.indices) for it in together] == [(it.trajectories, it.indices) for it in apart]
    assert [[f.error for f in it.failures] for it in together] == [[f.error for f in it.failures] for it in apart]
