"""Advantages: how much better than expected a trajectory, or a step of one, was.

Letters: G trajectories of a group, P groups, T steps of an episode.
"""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, assert_never

Baseline: TypeAlias = Literal["none", "mean", "mean_and_std", "leave_one_out"]
"""What the rewards of a group are compared with."""


def centred(rewards_G: Sequence[float]) -> tuple[float, ...]:
    """Subtract the group's mean: r - mean(r). The advantages sum to 0.

    It is what Dr. GRPO keeps of GRPO (Liu et al. 2025, arXiv 2503.20783, section 3.2).

    >>> centred([1.0, 0.0, 0.0, 1.0])
    (0.5, -0.5, -0.5, 0.5)
    """
    if not rewards_G:
        return ()
    mean = math.fsum(rewards_G) / len(rewards_G)
    return tuple(reward - mean for reward in rewards_G)


def standardised(rewards_G: Sequence[float], *, epsilon: float = 1e-4) -> tuple[float, ...]:
    """Subtract the mean and divide by the standard deviation: (r - mean(r)) / (std(r) + epsilon).

    GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1.2), with the deviation of a sample (n - 1), as TRL and verl take
    it. Rewards that are all the same give 0.

    >>> [round(advantage, 3) for advantage in standardised([1.0, 0.0, -1.0], epsilon=0.0)]
    [1.0, 0.0, -1.0]
    """
    distances_G = centred(rewards_G)
    scale = max(map(abs, distances_G), default=0.0)
    if scale == 0 or len(distances_G) < 2:
        return (0.0,) * len(distances_G)
    parts = [distance / scale for distance in distances_G]  # squares of parts neither overflow nor vanish
    deviation = scale * math.sqrt(math.fsum(part * part for part in parts) / (len(parts) - 1))
    return tuple(distance / (deviation + epsilon) for distance in distances_G)


def leave_one_out(rewards_G: Sequence[float]) -> tuple[float, ...]:
    """Subtract the mean of the others: G / (G - 1) (r - mean(r)). Alone, a trajectory has advantage 0.

    RLOO (Ahmadian et al. 2024, arXiv 2402.14740).

    >>> leave_one_out([1.0, 0.0, 0.0])
    (1.0, -0.5, -0.5)
    """
    size = len(rewards_G)
    return tuple(distance * size / (size - 1) for distance in centred(rewards_G)) if size > 1 else (0.0,) * size


def group_advantages(rewards_G: Sequence[float], baseline: Baseline) -> tuple[float, ...]:
    """Compare the rewards of a group with `baseline`; `none` leaves them as they are.

    >>> group_advantages([1.0, 0.0], "mean")
    (0.5, -0.5)

    Raises: ValueError when a reward is NaN or infinite: its whole group would be worth nothing.
    """
    _check(rewards_G)
    match baseline:
        case "none":
            return tuple(rewards_G)
        case "mean":
            return centred(rewards_G)
        case "mean_and_std":
            return standardised(rewards_G)
        case "leave_one_out":
            return leave_one_out(rewards_G)
        case _:
            assert_never(baseline)


def informative_groups(rewards_PG: Sequence[Sequence[float]], *, tolerance: float = 1e-9) -> tuple[int, ...]:
    """Give the indices of the groups whose rewards are not all the same: the others teach nothing.

    DAPO's dynamic sampling keeps these (Yu et al. 2025, arXiv 2503.14476, section 3.2). Indices, not groups: whatever else
    is known of each group is picked by them too, and stays with it. There may be none.

    >>> informative_groups([[1.0, 1.0], [0.0, 1.0], [0.0], []])
    (1,)

    Raises: ValueError when a reward is NaN or infinite: its group would be dropped as if it taught nothing.
    """
    for rewards_G in rewards_PG:
        _check(rewards_G)
    return tuple(i for i, rewards_G in enumerate(rewards_PG) if rewards_G and _spread(rewards_G) > tolerance)


def generalised_advantages(
    rewards_T: Sequence[float],
    values_T: Sequence[float],
    *,
    discount: float = 1.0,
    trace: float = 0.95,
    final_value: float = 0.0,
) -> tuple[float, ...]:
    """Give the generalised advantage estimate (GAE) of each step.

    A_t = d_t + discount trace A_(t+1), with d_t = r_t + discount V_(t+1) - V_t (Schulman et al. 2015, arXiv 1506.02438,
    eq. 16). `trace` is the paper's lambda: 0 gives d_t, 1 the discounted return minus V_t. The value targets of a critic are
    A_t + V_t.

    Args:
        rewards_T: the reward of each step.
        values_T: a critic's value of the state before each step.
        final_value: its value of the state after the last: 0 where the episode ended, not where it was cut.

    >>> generalised_advantages([0.0, 1.0], [0.5, 0.5], discount=1.0, trace=1.0)
    (0.5, 0.5)

    Raises: ValueError when the lengths differ.
    """
    advantage, following = 0.0, final_value
    backwards: list[float] = []
    for reward, value in zip(reversed(rewards_T), reversed(values_T), strict=True):
        advantage = reward + discount * following - value + discount * trace * advantage
        following = value
        backwards.append(advantage)
    return tuple(reversed(backwards))


def overlong_penalty(num_tokens: int, *, max_tokens: int, buffer_tokens: int) -> float:
    """Give the reward to add for length: 0 up to max - buffer, then falling to -1 at max, and -1 beyond.

    DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13).

    >>> [overlong_penalty(n, max_tokens=100, buffer_tokens=20) for n in (80, 90, 100, 101)]
    [0.0, -0.5, -1.0, -1.0]
    """
    over = num_tokens - (max_tokens - buffer_tokens)
    if over <= 0:
        return 0.0
    return -1.0 if over >= buffer_tokens else -over / buffer_tokens


def _check(rewards_G: Sequence[float]) -> None:
    if not all(map(math.isfinite, rewards_G)):
        raise ValueError(f"a reward is not finite: {', '.join(map(str, rewards_G))}")


def _spread(rewards_G: Sequence[float]) -> float:
    return max(rewards_G) - min(rewards_G)
