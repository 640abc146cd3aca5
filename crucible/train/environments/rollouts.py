"""Rollouts: a policy acts in environments, and what happened becomes trajectories."""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Never, TypeAlias, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, attempt, do, fail, gather
from crucible.train.environments.interface import Environment, EnvironmentFailed, State, StopCondition
from crucible.train.types import ModelInput, Sample
from crucible.train.types.trajectories import TokensWithLogprobs, Trajectory, TrajectoryGroup, Transition

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)
R = TypeVar("R")
R2 = TypeVar("R2")
R_co = TypeVar("R_co", covariant=True)

Sampler: TypeAlias = Callable[[ModelInput, StopCondition], Eff[Sample, E, R]]
"""Draws one continuation of a prompt."""


@attrs.frozen(kw_only=True)
class RolloutLimits:
    """Where an episode is cut: after so many turns, or before a prompt of more tokens."""

    max_turns: int = attrs.field(default=32, validator=attrs.validators.ge(1))
    max_prompt_tokens: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )

    def allow(self, state: State[object], turns: int) -> bool:
        """Tell whether another turn may be taken."""
        most = self.max_prompt_tokens
        return turns < self.max_turns and (most is None or len(state.observation.prompt) <= most)


@do
def rollout(
    environment: Environment[R], sample: Sampler[E, R2], limits: RolloutLimits = RolloutLimits()
) -> Do[E | EnvironmentFailed, R | R2, Trajectory]:
    """Act until the episode is over or cut.

    The last transition of an episode that was cut is not `episode_done`, and has the metric `truncated`.

    Fails: as the environment or the sampler does; EnvironmentFailed when the first prompt is too long already.
    """
    state: State[R] | None = yield from environment.start()
    transitions: list[Transition] = []
    final = ModelInput(chunks=())
    while state is not None:
        observation = state.observation
        if not limits.allow(state, len(transitions)):
            if not transitions:
                size = len(observation.prompt)
                message = f"the first prompt has {size} tokens, at most {limits.max_prompt_tokens} are allowed"
                yield from fail(EnvironmentFailed(message=message))
            last = transitions[-1]
            transitions[-1] = attrs.evolve(last, metrics={**last.metrics, "truncated": 1.0})
            final = observation.prompt
            break
        drawn = yield from sample(observation.prompt, observation.stop)
        result = yield from state.step(drawn.tokens)
        transitions.append(
            Transition(
                observation=observation.prompt,
                action=TokensWithLogprobs(tokens=drawn.tokens, maybe_logprobs=drawn.logprobs),
                reward=result.reward,
                episode_done=result.next is None,
                metrics=result.metrics,
            )
        )
        state, final = result.next, result.final_observation
    return Trajectory(transitions=tuple(transitions), final_observation=final)


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
        compare: rewards that only all trajectories together tell, one for each.
    """

    environment: Environment[R_co]
    size: int = attrs.field(validator=attrs.validators.ge(1))
    tags: tuple[str, ...] = ()
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


@do
def rollout_group(
    group: EnvironmentGroup[R],
    sampler_of: Callable[[int], Sampler[E, R2]],
    limits: RolloutLimits = RolloutLimits(),
    *,
    at_once: int | None = None,
) -> Do[Never, R | R2, GroupRollout[E]]:
    """Roll out a group, `at_once` of its trajectories side by side. A failure costs its own trajectory, nothing else.

    Args:
        group: what to act in.
        sampler_of: the sampler of each trajectory by its place; give each a seed of its own, or they will all be the same.
        limits: where an episode is cut.
        at_once: most trajectories in flight; None for all.
    """
    tries = [attempt(rollout(group.environment, sampler_of(index), limits)) for index in range(group.size)]
    results = yield from gather(tries, limit=at_once)
    finished = [(index, result.unwrap()) for index, result in enumerate(results) if not isinstance(result, Failure)]
    failures = [
        FailedRollout[E](index=index, error=result.failure())
        for index, result in enumerate(results)
        if isinstance(result, Failure)
    ]
    trajectories = tuple(trajectory for _, trajectory in finished)
    if group.compare is None or not trajectories:
        return _group_rollout([index for index, _ in finished], TrajectoryGroup(trajectories_G=trajectories), failures)
    compared = yield from attempt(group.compare(trajectories))
    if isinstance(compared, Failure):
        lost = [FailedRollout[E](index=index, error=compared.failure()) for index, _ in finished]
        return _group_rollout(
            [], TrajectoryGroup(trajectories_G=()), sorted([*failures, *lost], key=lambda it: it.index)
        )
    rewards = compared.unwrap()
    rewarded = TrajectoryGroup(
        trajectories_G=trajectories,
        final_rewards_G=tuple(it.reward for it in rewards),
        metrics_G=tuple(it.metrics for it in rewards),
    )
    return _group_rollout([index for index, _ in finished], rewarded, failures)


def _group_rollout(
    indices: Sequence[int], trajectories: TrajectoryGroup, failures: Sequence[FailedRollout[E]]
) -> GroupRollout[E]:
    return GroupRollout(trajectories=trajectories, indices=tuple(indices), failures=tuple(failures))
