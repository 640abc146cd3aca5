"""Rollouts: a policy acts in environments, and what happened becomes trajectories."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Generic, Never, TypeAlias, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Result, attempt, do, fold, from_result, gather, pure
from crucible.train.environments.episodes import Episode, RolloutLimits
from crucible.train.environments.interface import Environment, EnvironmentFailed, StopCondition
from crucible.train.finite import not_finite
from crucible.train.types import ModelInput, Sample
from crucible.train.types.trajectories import Trajectory, TrajectoryGroup

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
R = TypeVar("R")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)

Sampler: TypeAlias = Callable[[ModelInput, StopCondition], Eff[Sample, E, R]]
"""Draws one continuation of a prompt."""


@do
def rollout(
    environment: Environment[R], sample: Sampler[E, R2], limits: RolloutLimits = RolloutLimits()
) -> Do[E | EnvironmentFailed, R | R2, Trajectory]:
    """Act until the episode is over or cut.

    The last transition of an episode that was cut is not `episode_done`, and has the metric `truncated`.

    Fails: as the environment or the sampler does; EnvironmentFailed when the first prompt is too long already, or a reward
    or a metric is not finite.
    """
    first = yield from environment.start()
    episode = Episode(state=first)
    while True:
        episode = yield from from_result(episode.within(limits))
        if episode.state is None:
            return episode.trajectory
        observation = episode.state.observation
        drawn = yield from sample(observation.prompt, observation.stop)
        result = yield from episode.state.step(drawn.tokens)
        episode = yield from from_result(episode.after(observation.prompt, drawn, result))


@attrs.frozen(kw_only=True)
class GroupReward:
    """What a group adds to one of its trajectories, having seen all of them."""

    reward: float = 0.0
    metrics: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class EnvironmentGroup(Generic[R_co]):
    """One problem, tried `size` times: the trajectories of a group are of the same problem because it is the same value.

    Args:
        environment: the problem.
        size: how many trajectories.
        tags: names under which its metrics are gathered, such as that of its dataset.
        row: which row of the data it is of, by index; None where it is of none.
        compare: rewards that only all trajectories together tell, one for each. A trajectory whose reward or metric is not
            finite is lost, and all are where there is not one for each.
    """

    environment: Environment[R_co]
    size: int = attrs.field(validator=attrs.validators.ge(1))
    tags: tuple[str, ...] = ()
    row: int | None = None
    compare: Callable[[Sequence[Trajectory]], Eff[Sequence[GroupReward], EnvironmentFailed, R_co]] | None = None


@attrs.frozen(kw_only=True)
class FailedRollout(Generic[E_co]):
    """A trajectory that was lost, by its place in the group, and why."""

    index: int
    error: E_co | EnvironmentFailed


@attrs.frozen(kw_only=True)
class GroupRollout(Generic[E_co]):
    """What became of a group: the trajectories that were finished, and the place of each; and those that were lost."""

    trajectories: TrajectoryGroup
    indices: tuple[int, ...]
    failures: tuple[FailedRollout[E_co], ...]


def rollout_group(
    group: EnvironmentGroup[R],
    sampler_of: Callable[[int], Sampler[E, R2]],
    limits: RolloutLimits = RolloutLimits(),
    *,
    at_once: int | None = None,
) -> Eff[GroupRollout[E], Never, R | R2]:
    """Roll out a group, `at_once` of its trajectories side by side. A failure costs its own trajectory, nothing else.

    Args:
        group: what to act in.
        sampler_of: the sampler of each trajectory by its place; give each a seed of its own, or they will all be the same.
        limits: where an episode is cut.
        at_once: most trajectories in flight; None for all.
    """
    tries = [attempt(rollout(group.environment, sampler_of(index), limits)) for index in range(group.size)]
    return gather(tries, limit=at_once).bind(lambda results: finished_group(group, results))


def finished_group(
    group: EnvironmentGroup[R], results: Sequence[Result[Trajectory, E | EnvironmentFailed]]
) -> Eff[GroupRollout[E], Never, R]:
    """Put together what became of each trajectory of a group, and add what the group makes of them."""
    trajectories = tuple(result.unwrap() for result in results if not isinstance(result, Failure))
    if group.compare is None or not trajectories:
        return pure(_put_together(results, [GroupReward()] * len(trajectories)))
    compared = attempt(group.compare(trajectories))
    return compared.map(lambda rewards: fold(rewards, partial(_with_rewards, results), partial(_all_lost, results)))


def _with_rewards(
    results: Sequence[Result[Trajectory, E | EnvironmentFailed]], rewards: Sequence[GroupReward]
) -> GroupRollout[E]:
    """Give each finished trajectory its reward, and lose those whose reward is none."""
    places = [place for place, result in enumerate(results) if not isinstance(result, Failure)]
    if len(rewards) != len(places):
        message = f"the group was given {len(rewards)} rewards for {len(places)} trajectories"
        return _all_lost(results, EnvironmentFailed(message=message))
    wrong = [not_finite({"reward": one.reward, **one.metrics}) for one in rewards]
    lost = {
        place: Failure(EnvironmentFailed(message=f"compared with its group: {why}"))
        for place, why in zip(places, wrong, strict=True)
        if why is not None
    }
    kept = [one for one, why in zip(rewards, wrong, strict=True) if why is None]
    return _put_together([lost.get(place, result) for place, result in enumerate(results)], kept)


def _put_together(
    results: Sequence[Result[Trajectory, E | EnvironmentFailed]], rewards: Sequence[GroupReward]
) -> GroupRollout[E]:
    finished = [(index, result.unwrap()) for index, result in enumerate(results) if not isinstance(result, Failure)]
    failures = [
        FailedRollout[E](index=index, error=result.failure())
        for index, result in enumerate(results)
        if isinstance(result, Failure)
    ]
    trajectories = TrajectoryGroup(
        trajectories_G=tuple(trajectory for _, trajectory in finished),
        final_rewards_G=tuple(it.reward for it in rewards),
        metrics_G=tuple(it.metrics for it in rewards),
    )
    indices = tuple(index for index, _ in finished)
    return GroupRollout(trajectories=trajectories, indices=indices, failures=tuple(failures))


def _all_lost(
    results: Sequence[Result[Trajectory, E | EnvironmentFailed]], error: EnvironmentFailed
) -> GroupRollout[E]:
    """Lose every trajectory of a group that could not compare them."""
    return _put_together([one if isinstance(one, Failure) else Failure(error) for one in results], [])
