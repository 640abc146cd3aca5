"""Rounds of reinforcement learning: episodes from the policy as it is, advantages, what they did."""

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, do, fail, perform, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.policy import Collected, Updated, target_logprobs
from crucible.kitchen.stages.references import reference_of
from crucible.kitchen.stages.reinforcement import ReinforcementConfig, ReinforcementState, in_short
from crucible.kitchen.stages.samplers import with_present_weights, with_sampler
from crucible.telemetry.events import EnvironmentPlayed, EpisodesFailed, ReinforcementStep, RolloutCompleted
from crucible.train.algorithms.advantages import informative_groups
from crucible.train.algorithms.kl import Penalised, kl_penalised
from crucible.train.algorithms.policy_gradient import policy_batch
from crucible.train.environments import (
    EnvironmentFailed,
    EnvironmentGroup,
    GroupRollout,
    PromptTooLong,
    RolloutLimits,
    StopCondition,
    failed_alike,
    rollout_together,
)
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import ModelInput, Sample, SamplerWeights, SamplingParams, SamplingSession
from crucible.train.types.trajectories import PolicyDatum, Trajectory

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class RolledOut:
    """A round of episodes, and the policy version that they come from: it had learned from `rounds_before` rounds.

    `rows` are the indices of the problems, one for each group; None where it is of none.
    """

    base: ReinforcementState
    groups: tuple[GroupRollout[EnvironmentFailed], ...]
    policy: SamplerWeights
    rounds_before: int
    rows: tuple[int | None, ...]

    @property
    def staleness(self) -> int:
        """How many rounds the policy has learned from since."""
        return self.base.batches_done - self.rounds_before

    @property
    def num_finished(self) -> int:
        """How many episodes came to their end."""
        return sum(len(group.indices) for group in self.groups)

    @property
    def num_failed(self) -> int:
        """How many failed."""
        return sum(len(group.failures) for group in self.groups)


@do
def roll_out(
    base: ReinforcementState, groups: Sequence[EnvironmentGroup[R]], number: int
) -> Do[TrainError, R | TrainingClient | SamplingClient, RolledOut]:
    """Let the policy as it is act in all environments, turn by turn."""
    sampled = yield from with_present_weights(
        base.session,
        f"policy_{number:06d}",
        lambda session: rollout_together(
            groups, sampler(session, base.config, number), limits_within(base.config, session)
        ),
    )
    too_long = next(
        (it.error.error for group in sampled.value for it in group.failures if isinstance(it.error, PromptTooLong)),
        None,
    )
    if too_long is not None:
        yield from fail(too_long)
    rolled = RolledOut(
        base=attrs.evolve(base, policy=sampled.policy),
        groups=tuple(sampled.value),
        policy=sampled.policy,
        rounds_before=base.batches_done,
        rows=tuple(group.row for group in groups),
    )
    for told in (*_each(rolled), *_failures(rolled)):
        yield from tell(told)
    yield from tell(_summary(rolled))
    return rolled


def limits_within(config: ReinforcementConfig, session: SamplingSession) -> RolloutLimits:
    """Give the limits of an episode, with one more: it is cut before a prompt that leaves the model no room to answer.

    Nor is a turn longer than `max_length` with its answer. A conversation that grew too long so costs its own episode, and not
    the run.
    """
    room, given = session.max_length - 1, config.limits.max_prompt_tokens
    if config.max_length is not None:
        room = min(room, config.max_length - config.max_tokens)
    return attrs.evolve(config.limits, max_prompt_tokens=room if given is None else min(given, room))


class _Sampler:
    """Samples of one round: each turn has a seed of its own."""

    def __init__(self, session: SamplingSession, config: ReinforcementConfig, number: int) -> None:
        self._session = session
        self._config = config
        self._number = number

    def __call__(
        self, prompts: Sequence[ModelInput], stop: StopCondition, num_samples: int, turn: int
    ) -> Eff[tuple[tuple[Sample, ...], ...], TrainError, SamplingClient]:
        params = SamplingParams(
            max_tokens=self._config.max_tokens,
            temperature=self._config.temperature,
            stop=stop.texts,
            stop_tokens=stop.tokens,
            seed=(self._config.seed * 1_000_003 + self._number) * 1_009 + turn,
        )
        return perform(SamplingClient.sample, self._session, prompts, params, num_samples=num_samples)


def sampler(session: SamplingSession, config: ReinforcementConfig, number: int) -> _Sampler:
    """Make the sampler of round `number`."""
    return _Sampler(session, config, number)


@stage
def compute_advantages(
    context: Context[RolledOut],
) -> Do[TrainError, SamplingClient, Context[Collected[ReinforcementState]]]:
    """Compare the episodes of each group, drop groups that teach nothing, take off the KL to the reference."""
    rolled, config = context.state, context.state.base.config
    batch = policy_batch([group.trajectories for group in rolled.groups], config.algorithm)
    metrics = {
        **reward_metrics(rolled),
        "groups_kept": float(len(batch.kept_groups)),
        "staleness": float(rolled.staleness),
    }
    data = batch.data
    if config.kl_coef and data:
        penalised = yield from _penalised(rolled.base, data)
        data, metrics["kl_reference"] = penalised.data, penalised.kl
    loss = config.algorithm.loss
    return context.to(Collected(base=rolled.base, data=data, loss=loss, metrics=metrics, why_none=_why_none(rolled)))


def _why_none(rolled: RolledOut) -> str:
    """Say why a round whose data are none has none."""
    if rolled.base.config.group_size == 1:
        return "each group is one episode, which has none to be compared with (group_size is 1)"
    sizes = [len(group.indices) for group in rolled.groups]
    if max(sizes, default=0) < 2:
        return "no group has two finished episodes to compare"
    rewards_PG = [group.trajectories.total_rewards for group in rolled.groups]
    if not informative_groups(rewards_PG):
        rewards = sorted(reward for rewards_G in rewards_PG for reward in rewards_G)
        return f"the rewards of every group are equal (from {rewards[0]:g} to {rewards[-1]:g} in the last round)"
    return "no episode has a token that was sampled"


@do
def _penalised(base: ReinforcementState, data: Sequence[PolicyDatum]) -> Do[TrainError, SamplingClient, Penalised]:
    config = base.config
    logprobs = yield from with_sampler(
        reference_of(base), lambda session: target_logprobs(session, data, config.reference_batch)
    )
    return kl_penalised(data, logprobs, coef=config.kl_coef, aggregation=config.algorithm.aggregation)


def reward_metrics(rolled: RolledOut) -> dict[str, float]:
    """Give the mean and spread of the rewards, the tokens of an episode, and the mean of what the environments measured.

    `frac_reward_zero_std` is the share of groups whose rewards are all equal: they teach nothing, kept or not. A round without an
    episode has none of them.
    """
    rewards = [reward for group in rolled.groups for reward in group.trajectories.total_rewards]
    rewards_PG = [group.trajectories.total_rewards for group in rolled.groups if group.indices]
    episodes = [episode for group in rolled.groups for episode in group.trajectories.trajectories_G]
    if not episodes:
        return {}
    return {
        "reward_mean": fmean(rewards),
        "reward_std": pstdev(rewards),
        "frac_reward_zero_std": 1.0 - len(informative_groups(rewards_PG)) / len(rewards_PG),
        "action_tokens": fmean(episode.num_action_tokens for episode in episodes),
        **_measured(episodes),
    }


def _summary(rolled: RolledOut) -> RolloutCompleted:
    return RolloutCompleted(
        step=rolled.policy.step,
        metrics=reward_metrics(rolled),
        num_trajectories=rolled.num_finished,
        num_failed=rolled.num_failed,
    )


def _failures(rolled: RolledOut) -> list[EpisodesFailed]:
    """Tell the first failure of each kind, and how many there are."""
    told = []
    for alike in failed_alike(rolled.groups):
        index = rolled.rows[alike.group]
        row = {} if index is None else rolled.base.problems[index]
        told.append(
            EpisodesFailed(
                step=rolled.policy.step,
                error=alike.why,
                num_failed=alike.count,
                row=index,
                row_id=str(row.get("id", "")),
                environment=alike.group,
                shown=in_short(row) if row else "",
            )
        )
    return told


def _each(rolled: RolledOut) -> list[EnvironmentPlayed]:
    return [
        EnvironmentPlayed(
            step=rolled.policy.step,
            environment=place,
            metrics=dict(metrics),
            num_trajectories=len(group.indices),
            num_failed=len(group.failures),
        )
        for place, (group, metrics) in enumerate(zip(rolled.groups, metrics_by_environment(rolled), strict=True))
    ]


def log_rl_metrics(context: Context[Updated[ReinforcementState]]) -> Eff[Context[ReinforcementState], Never, Never]:
    """Tell rewards, KL, entropy and what the update did."""
    done = context.state
    step = ReinforcementStep(step=done.base.step, metrics=dict(done.metrics), num_tokens=done.num_tokens)
    return tell(step).map(lambda _: context.to(done.base))


@pure_stage
def take_rollout(context: Context[Iteration[ReinforcementState, RolledOut]]) -> Context[RolledOut]:
    """Take a round that was rolled out beside training, with the state as it is by now."""
    state, rolled = context.state.state, context.state.item
    return context.to(attrs.evolve(rolled, base=attrs.evolve(state, policy=rolled.policy)))


def metrics_by_environment(rolled: RolledOut) -> tuple[Mapping[str, float], ...]:
    """Give, for each environment of the round in its order, the mean reward and the means of what it measured.

    It is of the round as it was rolled out: a group that taught nothing, or was lost, has its place too.
    """
    return tuple(
        {"reward": fmean(group.trajectories.total_rewards), **_measured(group.trajectories.trajectories_G)}
        if group.indices
        else {}
        for group in rolled.groups
    )


def _measured(episodes: Sequence[Trajectory]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for turn in (turn for episode in episodes for turn in episode.transitions):
        for name, value in turn.metrics.items():
            values.setdefault(name, []).append(value)
    return {f"env/{name}": fmean(found) for name, found in values.items()}
