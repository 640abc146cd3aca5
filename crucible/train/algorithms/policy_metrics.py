"""What a step of reinforcement learning tells of itself."""

import math
from collections.abc import Sequence

from crucible.train.algorithms.kl import kl_estimate
from crucible.train.types.trajectories import PolicyDatum


def policy_metrics(data: Sequence[PolicyDatum], logprobs_NT: Sequence[Sequence[float]]) -> dict[str, float]:
    """Compare the policy that sampled with the one that was trained, over the sampled tokens.

    With s and t their log-probabilities: kl_sample_train_v1 = mean(s - t), kl_sample_train_v2 = mean((s - t)^2) / 2,
    kl_sample_train_v3 = mean(exp(t - s) - 1 - (t - s)), entropy = -mean(s), the names of tinker-cookbook. Before the first
    step the first three are what sampler and trainer differ by: near 0, or something is wrong. No token gives no metrics.

    Args:
        data: with the log-probabilities of the policy that sampled.
        logprobs_NT: what the training backend gave for the same data.
    """
    pairs = [
        (sampled, trained)
        for datum, row in zip(data, logprobs_NT, strict=True)
        for sampled, trained, mask in zip(datum.logprobs, row, datum.mask_N, strict=True)
        if mask
    ]
    if not pairs:
        return {}
    count = len(pairs)
    return {
        "kl_sample_train_v1": math.fsum(kl_estimate(s, t, "k1").value for s, t in pairs) / count,
        "kl_sample_train_v2": math.fsum(kl_estimate(s, t, "k2").value for s, t in pairs) / count,
        "kl_sample_train_v3": math.fsum(kl_estimate(s, t, "k3").value for s, t in pairs) / count,
        "entropy": -math.fsum(s for s, _ in pairs) / count,
    }
