"""All episodes of a round together: sampled in batches, each lost or kept on its own."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Never

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Failure, Handlers, Port, Result, TimedOut, fail, perform, pure, timeout
from crucible.train.environments import (
    Environment,
    EnvironmentFailed,
    EnvironmentGroup,
    GroupReward,
    GroupRollout,
    Observation,
    RolloutLimits,
    State,
    StepResult,
    StopCondition,
    environment_failure,
    rollout,
    rollout_together,
)
from crucible.train.types import ModelInput, Sample, TokenId
from crucible.train.types.trajectories import Trajectory

NOTHING = Handlers.none()
DOT = StopCondition(texts=(".",))
EOS = StopCondition(tokens=(0,))


@attrs.frozen(kw_only=True)
class Maze:
    """An environment of `turns` turns; each rewards what was done by its last token. It fails in one turn, or never."""

    name: int
    turns: int = 1
    fails_in: int | None = None
    stop: StopCondition = DOT

    def start(self) -> Eff[State[Never], EnvironmentFailed, Never]:
        if self.fails_in == 0:
            return fail(EnvironmentFailed(message=f"maze {self.name} is closed"))
        return pure(Place(maze=self, path=(self.name,)))


@attrs.frozen(kw_only=True)
class Place:
    """Where someone is in a maze, by what was done so far."""

    maze: Maze
    path: tuple[TokenId, ...]
    turn: int = 1

    @property
    def observation(self) -> Observation:
        return Observation(prompt=ModelInput.from_tokens(self.path), stop=self.maze.stop)

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[Never], EnvironmentFailed, Never]:
        if self.turn == self.maze.fails_in:
            return fail(EnvironmentFailed(message=f"maze {self.maze.name} fell in"))
        over = self.turn == self.maze.turns
        path = (*self.path, *action, 500 + self.turn)
        further = None if over else Place(maze=self.maze, path=path, turn=self.turn + 1)
        return pure(StepResult(reward=float(action[-1]), next=further, metrics={"turn": float(self.turn)}))


@attrs.define
class Sampler:
    """A sampler that remembers what it was asked: sample i of a prompt is its length, i and the turn."""

    asked: list[tuple[Sequence[ModelInput], StopCondition, int, int]] = attrs.field(factory=list)
    fails_in: int | None = None

    def __call__(
        self, prompts: Sequence[ModelInput], stop: StopCondition, num_samples: int, turn: int
    ) -> Eff[tuple[tuple[Sample, ...], ...], str, Never]:
        self.asked.append((prompts, stop, num_samples, turn))
        if turn == self.fails_in:
            return fail("no sampler")
        return pure(tuple(tuple(drawn(prompt, i) for i in range(num_samples)) for prompt in prompts))


def drawn(prompt: ModelInput, index: int) -> Sample:
    tokens = (len(prompt), prompt.tokens[0] + index)
    return Sample(tokens=tokens, logprobs=(-0.5, -0.5), stop_reason="stop")


Rolled = list[GroupRollout[EnvironmentFailed]]


def together(
    groups: Sequence[EnvironmentGroup[Never]], sampler: Sampler | None = None, limits: RolloutLimits = RolloutLimits()
) -> Rolled:
    return NOTHING.run(rollout_together(groups, sampler or Sampler(), limits)).unwrap()


mazes = st.builds(
    Maze,
    name=st.integers(1, 3),
    turns=st.integers(1, 4),
    fails_in=st.none() | st.integers(0, 4),
    stop=st.sampled_from([DOT, EOS]),
)
tries = st.lists(st.tuples(mazes, st.integers(1, 3)), max_size=4)


def groups_of(tried: Sequence[tuple[Maze, int]]) -> list[EnvironmentGroup[Never]]:
    return [EnvironmentGroup(environment=maze, size=size) for maze, size in tried]


@settings(max_examples=60)
@given(tries, st.integers(1, 4))
def test_every_place_of_every_group_is_finished_or_lost_and_fails_alone(
    tried: list[tuple[Maze, int]], most: int
) -> None:
    rolled = together(groups_of(tried), limits=RolloutLimits(max_turns=most))
    for (maze, size), done in zip(tried, rolled, strict=True):
        lost = maze.fails_in is not None and maze.fails_in <= min(maze.turns, most)
        places = [*done.indices, *(failure.index for failure in done.failures)]
        assert sorted(places) == list(range(size))
        assert len(done.failures) == (size if lost else 0)
        assert len(done.trajectories.trajectories_G) == len(done.indices)
        for trajectory in done.trajectories.trajectories_G:
            assert len(trajectory.transitions) == min(maze.turns, most)
            assert trajectory.transitions[-1].episode_done == (maze.turns <= most)
            assert ("truncated" in trajectory.transitions[-1].metrics) == (maze.turns > most)


@settings(max_examples=40)
@given(tries.filter(bool), st.data())
def test_what_fails_in_one_group_changes_nothing_in_another(tried: list[tuple[Maze, int]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(tried) - 1))
    renamed = [(attrs.evolve(maze, name=10 * number + 1), size) for number, (maze, size) in enumerate(tried)]
    broken = list(renamed)
    broken[place] = (attrs.evolve(renamed[place][0], fails_in=1), renamed[place][1])
    before, after = together(groups_of(renamed)), together(groups_of(broken))
    assert [one for i, one in enumerate(before) if i != place] == [one for i, one in enumerate(after) if i != place]
    assert after[place].indices == ()


@settings(max_examples=40)
@given(mazes, st.integers(1, 4))
def test_one_episode_alone_is_as_rollout_makes_it(maze: Maze, most: int) -> None:
    limits = RolloutLimits(max_turns=most)
    alone = NOTHING.run(rollout(maze, lambda prompt, stop: pure(drawn(prompt, 0)), limits))
    [done] = together([EnvironmentGroup(environment=maze, size=1)], limits=limits)
    if isinstance(alone, Failure):
        assert [failure.error for failure in done.failures] == [alone.failure()]
    else:
        assert done.trajectories.trajectories_G == (alone.unwrap(),)


@settings(max_examples=40)
@given(tries)
def test_the_same_round_is_the_same_again(tried: list[tuple[Maze, int]]) -> None:
    assert together(groups_of(tried)) == together(groups_of(tried))


def test_a_turn_is_one_request_for_each_way_to_stop_and_number_of_samples() -> None:
    sampler = Sampler()
    groups = [
        EnvironmentGroup(environment=Maze(name=1, turns=2), size=2),
        EnvironmentGroup(environment=Maze(name=2), size=2),
        EnvironmentGroup(environment=Maze(name=3, stop=EOS), size=2),
        EnvironmentGroup(environment=Maze(name=4), size=3),
    ]
    together(groups, sampler)
    first = [
        ([prompt.tokens for prompt in prompts], stop, num) for prompts, stop, num, turn in sampler.asked if not turn
    ]
    assert first == [([(1,), (2,)], DOT, 2), ([(4,)], DOT, 3), ([(3,)], EOS, 2)]
    second = [([prompt.tokens for prompt in prompts], num) for prompts, _, num, turn in sampler.asked if turn]
    assert second == [([(1, 1, 1, 501), (1, 1, 2, 501)], 1)]


def test_the_trajectories_of_a_group_are_different_samples_of_the_same_prompt() -> None:
    [done] = together([EnvironmentGroup(environment=Maze(name=5), size=3)])
    actions = [trajectory.transitions[0].action.tokens for trajectory in done.trajectories.trajectories_G]
    assert actions == [(1, 5), (1, 6), (1, 7)]
    assert done.trajectories.total_rewards == (5.0, 6.0, 7.0)


def test_groups_that_ask_the_same_get_different_samples_of_one_request() -> None:
    sampler = Sampler()
    rolled = together([EnvironmentGroup(environment=Maze(name=5), size=2)] * 2, sampler)
    [(prompts, _, num_samples, _)] = sampler.asked
    assert (len(prompts), num_samples) == (1, 4)
    actions = [t.transitions[0].action.tokens for done in rolled for t in done.trajectories.trajectories_G]
    assert len(set(actions)) == 4


def test_no_groups_are_no_request() -> None:
    sampler = Sampler()
    assert together([], sampler) == []
    assert sampler.asked == []


def test_a_sampler_that_fails_fails_the_round() -> None:
    groups = [EnvironmentGroup(environment=Maze(name=1, turns=3), size=2)]
    for turn in (0, 2):
        assert NOTHING.run(rollout_together(groups, Sampler(fails_in=turn))) == Failure("no sampler")


# Environments that raise or hang


@attrs.frozen(kw_only=True)
class Odd:
    """An environment that does something odd when it is started or stepped in."""

    start_as: Callable[[], Eff[Any, EnvironmentFailed, Any]]

    def start(self) -> Eff[State[Any], EnvironmentFailed, Any]:
        return self.start_as()


@attrs.frozen(kw_only=True)
class Trap:
    """A state whose step is given."""

    step_as: Callable[[], Eff[Any, EnvironmentFailed, Any]]
    observation: Observation = Observation(prompt=ModelInput.from_tokens([1]), stop=DOT)

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[Any], EnvironmentFailed, Any]:
        return self.step_as()


def raises() -> Eff[Any, EnvironmentFailed, Any]:
    raise ZeroDivisionError("a bug")


def raises_later() -> Eff[Any, EnvironmentFailed, Any]:
    return pure(0).map(lambda zero: 1 // zero)


class Judge(Port):
    """Thinks."""

    @abstractmethod
    async def think(self) -> Result[float, EnvironmentFailed]:
        """Give a score."""


class Sleeper(Judge):
    """A judge that fell asleep."""

    async def think(self) -> Result[float, EnvironmentFailed]:
        """Sleep."""
        await anyio.sleep_forever()
        raise AssertionError


ASLEEP = Judge.handled_by(Sleeper())


def hangs() -> Eff[Any, EnvironmentFailed, Judge]:
    return perform(Judge.think)


def with_trap(step_as: Callable[[], Eff[Any, EnvironmentFailed, Any]]) -> Environment[Any]:
    return Odd(start_as=lambda: pure(Trap(step_as=step_as)))


SIBLINGS = [EnvironmentGroup[Any](environment=Maze(name=2, turns=2), size=2)]


@pytest.mark.parametrize(
    "odd", [Odd(start_as=raises), Odd(start_as=raises_later), with_trap(raises), with_trap(raises_later)]
)
def test_a_bug_in_an_environment_ends_the_round_as_itself(odd: Environment[Any]) -> None:
    groups = [*SIBLINGS, EnvironmentGroup(environment=odd, size=2)]
    with pytest.raises(ZeroDivisionError):
        NOTHING.run(rollout_together(groups, Sampler()))


@pytest.mark.parametrize("hanging", [Odd(start_as=hangs), with_trap(hangs)])
def test_a_round_with_an_environment_that_hangs_ends_at_its_time_limit(hanging: Environment[Any]) -> None:
    groups = [*SIBLINGS, EnvironmentGroup(environment=hanging, size=2)]
    result = ASLEEP.run(timeout(rollout_together(groups, Sampler()), seconds=0.05))
    assert result == Failure(TimedOut(seconds=0.05))


def test_an_environment_with_a_time_limit_of_its_own_loses_only_its_trajectories() -> None:
    slow = environment_failure("too slow")
    hanging = with_trap(lambda: timeout(hangs(), seconds=0.01).alt(slow))
    groups = [*SIBLINGS, EnvironmentGroup(environment=hanging, size=2)]
    kept, lost = ASLEEP.run(rollout_together(groups, Sampler())).unwrap()
    assert together(SIBLINGS) == [kept]
    assert [str(failure.error) for failure in lost.failures] == ["too slow: timed out after 0.01 s"] * 2


# What a group makes of its trajectories


def ranked(trajectories: Sequence[Trajectory]) -> Eff[Sequence[GroupReward], Never, Never]:
    best = max(trajectory.total_reward for trajectory in trajectories)
    return pure([GroupReward(reward=100.0 * (trajectory.total_reward == best)) for trajectory in trajectories])


def test_a_group_may_reward_what_only_all_trajectories_tell() -> None:
    [done] = together([EnvironmentGroup(environment=Maze(name=1), size=3, compare=ranked)])
    assert done.trajectories.total_rewards == (1.0, 2.0, 103.0)


def test_a_group_that_cannot_compare_its_trajectories_loses_them_alone() -> None:
    ill = EnvironmentFailed(message="the judge is ill")
    groups = [EnvironmentGroup(environment=Maze(name=1), size=2, compare=lambda trajectories: fail(ill)), *SIBLINGS]
    lost, kept = together(groups)
    assert (lost.indices, [failure.error for failure in lost.failures]) == ((), [ill, ill])
    assert kept.indices == (0, 1)
