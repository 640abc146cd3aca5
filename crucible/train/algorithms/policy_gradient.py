"""Policy-gradient algorithms as what a backend takes: advantages, and a loss that it knows by name.

An algorithm is a baseline for rewards, a built-in loss and its settings, and a way to add tokens up; `policy_batch` turns
groups of trajectories into data. Exact, for every algorithm named here, because each built-in loss it uses is homogeneous
in the advantage, which therefore carries the aggregation. What is no sum over tokens of a built-in loss (a KL term inside the
loss, the sequence ratio of GSPO, dual clipping) is in `policy_losses`.
"""

from collections.abc import Mapping, Sequence

import attrs

from crucible.fields import checked
from crucible.train.algorithms.advantages import Baseline, group_advantages, informative_groups
from crucible.train.algorithms.aggregation import Aggregation, aggregated
from crucible.train.algorithms.trajectories_to_data import trajectory_to_data
from crucible.train.types.training import LossFn
from crucible.train.types.trajectories import PolicyDatum, TrajectoryGroup


@attrs.frozen(kw_only=True, field_transformer=checked)
class BuiltInLoss:
    """A loss that backends compute themselves, with its settings: what `forward_backward` takes."""

    loss_fn: LossFn
    loss_fn_config: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True, field_transformer=checked)
class PolicyGradient:
    """A policy-gradient algorithm.

    Args:
        loss: what the backend computes.
        baseline: what the rewards of a group are compared with.
        aggregation: how tokens add up.
        drop_constant_groups: leave out groups whose rewards are all the same.
    """

    loss: BuiltInLoss
    baseline: Baseline = "mean"
    aggregation: Aggregation = Aggregation()
    drop_constant_groups: bool = True


def importance_sampling() -> BuiltInLoss:
    """Give -r A with r = p / q: the policy gradient, corrected for the policy q that sampled (the Tinker API's name)."""
    return BuiltInLoss(loss_fn="importance_sampling")


def ppo_clip(*, clip_low: float = 0.2, clip_high: float = 0.2) -> BuiltInLoss:
    """Give -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) (Schulman et al. 2017, arXiv 1707.06347, eq. 7).

    >>> ppo_clip(clip_high=0.25).loss_fn_config
    {'clip_low_threshold': 0.8, 'clip_high_threshold': 1.25}
    """
    bounds = {"clip_low_threshold": 1.0 - clip_low, "clip_high_threshold": 1.0 + clip_high}
    return BuiltInLoss(loss_fn="ppo", loss_fn_config=bounds)


def cispo_clip(*, ratio_low: float = 0.0, ratio_high: float = 4.0) -> BuiltInLoss:
    """Give -stop_gradient(clip(r, ratio_low, ratio_high)) A log p (MiniMax 2025, arXiv 2506.13585).

    Bounds are of the ratio itself. All tokens keep a gradient, those with a clipped ratio too.
    """
    bounds = {"clip_low_threshold": ratio_low, "clip_high_threshold": ratio_high}
    return BuiltInLoss(loss_fn="cispo", loss_fn_config=bounds)


def dro_quadratic(*, beta: float = 0.05) -> BuiltInLoss:
    """Give -(A log p - beta / 2 (log p - log q)^2): direct reward optimisation (Richemond et al. 2024, arXiv 2405.19107).

    The caller's A is reward minus value, in the paper a learned soft value. Its tokens can only be summed (`token_sum`).
    """
    return BuiltInLoss(loss_fn="dro", loss_fn_config={"beta": beta})


def reinforce() -> PolicyGradient:
    """Give REINFORCE with the group's mean as baseline and importance sampling, tokens summed: tinker-cookbook's default.

    Williams 1992, Machine Learning 8.
    """
    return PolicyGradient(loss=importance_sampling(), aggregation=Aggregation(kind="token_sum"))


def rloo() -> PolicyGradient:
    """Give REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): a trajectory's tokens are summed."""
    return attrs.evolve(reinforce(), baseline="leave_one_out")


def grpo(*, clip: float = 0.2, divide_by_std: bool = True) -> PolicyGradient:
    """Give GRPO without its KL term (Shao et al. 2024, arXiv 2402.03300, eq. 3).

    For the KL term as reward see `kl_penalised`, for that inside the loss `policy_losses.ClippedSurrogate`.
    """
    return PolicyGradient(
        loss=ppo_clip(clip_low=clip, clip_high=clip),
        baseline="mean_and_std" if divide_by_std else "mean",
        aggregation=Aggregation(kind="sequence_mean"),
        drop_constant_groups=False,
    )


def dr_grpo(*, max_tokens: int, clip: float = 0.2) -> PolicyGradient:
    """Give Dr. GRPO: GRPO without its bias by length and by difficulty (Liu et al. 2025, arXiv 2503.20783).

    Args:
        max_tokens: the constant that every trajectory's sum is divided by: the most tokens that are sampled.
    """
    return PolicyGradient(
        loss=ppo_clip(clip_low=clip, clip_high=clip),
        baseline="mean",
        aggregation=Aggregation(kind="fixed_length", max_tokens=max_tokens),
        drop_constant_groups=False,
    )


def dapo(*, clip_low: float = 0.2, clip_high: float = 0.28) -> PolicyGradient:
    """Give DAPO: a higher upper clip, a mean over all tokens, and only groups that teach (arXiv 2503.14476, eq. 8).

    The paper samples until the batch is full of such groups again; `PolicyBatch.kept_groups` says how many are missing. For
    its length penalty see `overlong_penalty`.
    """
    return PolicyGradient(
        loss=ppo_clip(clip_low=clip_low, clip_high=clip_high),
        baseline="mean_and_std",
        aggregation=Aggregation(kind="token_mean"),
    )


def cispo(*, ratio_high: float = 4.0) -> PolicyGradient:
    """Give CISPO: GRPO's advantages, a mean over all tokens, importance weights that are clipped (arXiv 2506.13585)."""
    return PolicyGradient(
        loss=cispo_clip(ratio_high=ratio_high),
        baseline="mean_and_std",
        aggregation=Aggregation(kind="token_mean"),
    )


@attrs.frozen(kw_only=True)
class PolicyBatch:
    """The data of some groups; `kept_groups` are the indices, in what was given, of those that are in it."""

    data: tuple[PolicyDatum, ...]
    kept_groups: tuple[int, ...]


def policy_batch(groups_P: Sequence[TrajectoryGroup], algorithm: PolicyGradient) -> PolicyBatch:
    """Make the data of groups of trajectories. `PolicyDatum.group` is the group's index in `groups_P`, whatever was dropped.

    The advantages carry the aggregation: what is added to them later must too (`kl_penalised` takes it).

    Raises: ValueError as `trajectory_to_data`, when a reward is not finite, and when `dro` is to be aggregated otherwise than by sum.
    """
    if algorithm.loss.loss_fn == "dro" and algorithm.aggregation.kind != "token_sum":
        raise ValueError("dro is not homogeneous in the advantage: its tokens can only be summed, use token_sum")
    rewards_PG = [group.total_rewards for group in groups_P]
    kept = informative_groups(rewards_PG) if algorithm.drop_constant_groups else tuple(range(len(groups_P)))
    data = tuple(
        datum
        for p in kept
        for g, advantage in enumerate(group_advantages(rewards_PG[p], algorithm.baseline))
        for datum in trajectory_to_data(groups_P[p].trajectories_G[g], advantage, group=p, index=g)
    )
    return PolicyBatch(data=aggregated(data, algorithm.aggregation), kept_groups=kept)
