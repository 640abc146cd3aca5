"""The stages of reinforcement learning: groups of episodes from the policy as it is, advantages, updates.

An `EnvironmentOf` makes the environment of a row. Whatever ports its environments need, the stages made with it need too,
and the type of the workflow says so.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev
from typing import Generic, Never, Protocol, TypeVar

import attrs

from crucible.effects import Do, Eff, attempt, bracket, do, perform, pure, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import Stage, pure_stage, stage
from crucible.kitchen.stages.passes import position_of
from crucible.kitchen.stages.policy import (
    Collected,
    OnPolicyConfig,
    OnPolicyState,
    Updated,
    sampling_from,
    save_policy,
    target_logprobs,
)
from crucible.kitchen.stages.setup import optimization_of
from crucible.kitchen.states import Tokenized
from crucible.telemetry.events import ReinforcementStep, RolloutCompleted
from crucible.train.algorithms.batching import epoch_batches, steps_per_epoch
from crucible.train.algorithms.kl import Penalised, kl_penalised
from crucible.train.algorithms.policy_gradient import PolicyGradient, policy_batch, reinforce
from crucible.train.environments import (
    Environment,
    EnvironmentFailed,
    EnvironmentGroup,
    GroupRollout,
    RolloutLimits,
    StopCondition,
    rollout_together,
)
from crucible.train.errors import TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.renderers import ChatTemplateRenderer, Renderer
from crucible.train.types import (
    ModelInput,
    Row,
    Sample,
    SamplerWeights,
    SamplingConfig,
    SamplingParams,
    SamplingSession,
)
from crucible.train.types.trajectories import PolicyDatum

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class ReinforcementConfig(OnPolicyConfig):
    """A reinforcement run: `batch_size` problems in a round, `group_size` episodes of each.

    Args:
        algorithm: baseline, loss and aggregation (see `policy_gradient`).
        limits: where an episode is cut.
        kl_coef: of the KL to the reference, taken off the advantages; 0 for none.
        reference_path: sampler weights of the reference; None is the model without adapters.
        reference_batch: sequences in one request to the reference.
        max_staleness: of the asynchronous workflow: samples of a policy more optimizer steps old are dropped.
    """

    algorithm: PolicyGradient = attrs.field(factory=reinforce)
    limits: RolloutLimits = RolloutLimits()
    kl_coef: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    reference_path: str | None = None
    reference_batch: int = attrs.field(default=16, validator=attrs.validators.ge(1))
    max_staleness: int = attrs.field(default=1, validator=attrs.validators.ge(0))


@attrs.frozen(kw_only=True)
class ReinforcementState(OnPolicyState[ReinforcementConfig]):
    """The problems are read. `first_batch` is where this run began, in batches of the whole."""

    problems: tuple[Row, ...]
    first_batch: int = 0

    def rows_of_batch(self, number: int) -> tuple[Row, ...] | None:
        """Give the problems of a batch, counted over all epochs; None when there are no more."""
        per_epoch = steps_per_epoch(self.num_examples, batch_size=self.config.batch_size)
        epoch, place = divmod(number, max(per_epoch, 1))
        if epoch >= self.config.epochs or per_epoch == 0:
            return None
        order = epoch_batches(self.num_examples, batch_size=self.config.batch_size, epoch=epoch, seed=self.config.seed)
        return tuple(self.problems[index] for index in order[place])


class EnvironmentOf(Protocol[R_co]):
    """Makes the environment of a row."""

    def __call__(self, row: Row, renderer: Renderer, /) -> Eff[Environment[R_co], TrainError, R_co]:
        """Give the environment, or the error that the row is none."""


@attrs.frozen(kw_only=True)
class EnvironmentBatch(Generic[R_co]):
    """The environments of a batch: for each problem a group of episodes."""

    base: ReinforcementState
    groups: tuple[EnvironmentGroup[R_co], ...]


@attrs.frozen(kw_only=True)
class RolledOut:
    """A round of episodes, and the policy version that they come from."""

    base: ReinforcementState
    groups: tuple[GroupRollout[EnvironmentFailed], ...]
    policy: SamplerWeights

    @property
    def staleness(self) -> int:
        """How many optimizer steps the policy has taken since."""
        return self.base.step - self.policy.step


@stage
def build_problems(
    context: Context[Tokenized[ReinforcementConfig]],
) -> Do[TrainError, Never, Context[ReinforcementState]]:
    """Lay out the rounds and the schedule."""
    state, config = context.state, context.state.config
    size = len(state.rows)
    rounds = config.epochs * steps_per_epoch(size, batch_size=config.batch_size)
    position = yield from pure(position_of(config, state.session, num_examples=size))
    return context.to(
        ReinforcementState(
            config=config,
            session=state.session,
            tokenizer=state.tokenizer,
            optimization=optimization_of(config, total_steps=rounds * config.updates_per_batch),
            num_examples=size,
            problems=state.rows,
            first_batch=position.batches_done,
            step=position.step,
            batches_done=position.batches_done,
            epoch=position.epoch,
        )
    )


def build_env_group(
    environment_of: EnvironmentOf[R],
) -> Stage[Context[Iteration[ReinforcementState, tuple[int, ...]]], Context[EnvironmentBatch[R]], TrainError, R]:
    """Make the stage that makes the environments of a batch: a group is `group_size` episodes of the same problem."""

    @stage
    def build_env_group(
        context: Context[Iteration[ReinforcementState, tuple[int, ...]]],
    ) -> Do[TrainError, R, Context[EnvironmentBatch[R]]]:
        """Make the environments of this batch."""
        base, indices = context.state.state, context.state.item
        groups = yield from environment_groups(base, [base.problems[index] for index in indices], environment_of)
        return context.to(EnvironmentBatch(base=base, groups=groups))

    return build_env_group


@do
def environment_groups(
    base: ReinforcementState, rows: Sequence[Row], environment_of: EnvironmentOf[R]
) -> Do[TrainError, R, tuple[EnvironmentGroup[R], ...]]:
    """Make a group of environments of each row."""
    renderer = ChatTemplateRenderer(base.tokenizer)
    groups: tuple[EnvironmentGroup[R], ...] = ()
    for row in rows:
        environment = yield from environment_of(row, renderer)
        groups = (*groups, EnvironmentGroup(environment=environment, size=base.config.group_size))
    return groups


@do
def roll_out(
    base: ReinforcementState, groups: Sequence[EnvironmentGroup[R]], number: int
) -> Do[TrainError, R | TrainingClient | SamplingClient, RolledOut]:
    """Save the policy as it is, and let it act in all environments, turn by turn."""
    policy = yield from save_policy(base, f"policy_{number:06d}")
    done = yield from sampling_from(
        policy, lambda session: rollout_together(groups, sampler(session, base.config, number), base.config.limits)
    )
    rolled = RolledOut(base=attrs.evolve(base, policy=policy), groups=tuple(done), policy=policy)
    yield from tell(_summary(rolled))
    return rolled


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
        penalised = yield from _penalised(config, data)
        data, metrics["kl_reference"] = penalised.data, penalised.kl
    return context.to(Collected(base=rolled.base, data=data, loss=config.algorithm.loss, metrics=metrics))


@do
def _penalised(config: ReinforcementConfig, data: Sequence[PolicyDatum]) -> Do[TrainError, SamplingClient, Penalised]:
    reference = SamplingConfig(model=config.session.model, weights_path=config.reference_path)
    logprobs = yield from bracket(
        perform(SamplingClient.start_session, reference),
        lambda session: target_logprobs(session, data, config.reference_batch),
        lambda session: attempt(perform(SamplingClient.close_session, session)),
    )
    return kl_penalised(data, logprobs, coef=config.kl_coef)


def reward_metrics(rolled: RolledOut) -> dict[str, float]:
    """Give the mean and spread of the rewards, the tokens of an episode, and the mean of what the environments measured."""
    rewards = [reward for group in rolled.groups for reward in group.trajectories.total_rewards]
    episodes = [episode for group in rolled.groups for episode in group.trajectories.trajectories_G]
    if not episodes:
        return {"reward_mean": float("nan"), "reward_std": 0.0}
    measured: dict[str, list[float]] = {}
    for turn in (turn for episode in episodes for turn in episode.transitions):
        for name, value in turn.metrics.items():
            measured.setdefault(name, []).append(value)
    return {
        "reward_mean": fmean(rewards),
        "reward_std": pstdev(rewards),
        "action_tokens": fmean(episode.num_action_tokens for episode in episodes),
        **{f"env/{name}": fmean(values) for name, values in measured.items()},
    }


def _summary(rolled: RolledOut) -> RolloutCompleted:
    return RolloutCompleted(
        step=rolled.base.step,
        metrics=reward_metrics(rolled),
        num_trajectories=sum(len(group.indices) for group in rolled.groups),
        num_failed=sum(len(group.failures) for group in rolled.groups),
    )


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


@pure_stage
def drop_if_stale(context: Context[RolledOut]) -> Context[RolledOut]:
    """Empty a round whose policy is too old: it is done without an update."""
    rolled = context.state
    fresh = rolled.staleness <= rolled.base.config.max_staleness
    return context if fresh else context.to(attrs.evolve(rolled, groups=()))


def metrics_by_environment(rolled: RolledOut) -> tuple[Mapping[str, float], ...]:
    """Give, for each environment of the round in its order, the mean reward: what was dropped later has its place too."""
    return tuple(
        {"reward": fmean(group.trajectories.total_rewards)} if group.indices else {} for group in rolled.groups
    )
