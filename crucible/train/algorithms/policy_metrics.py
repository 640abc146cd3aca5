"""What a step of reinforcement learning tells of itself."""

from collections.abc import Mapping, Sequence

from crucible.train.algorithms.kl import kl_estimate
from crucible.train.algorithms.stable import total
from crucible.train.types.trajectories import PolicyDatum

MAX_GAP = 0.03
"""Nats a token by which the logprobs of sampler and trainer may differ on average before a run says so. float32 on both sides
differs by about 1e-5, bfloat16 in a model of 135M parameters by 0.035."""

_OTHER_POLICY = 0.3
"""Nats a token that no rounding explains."""


def policy_metrics(data: Sequence[PolicyDatum], logprobs_NT: Sequence[Sequence[float]]) -> dict[str, float]:
    """Compare the policy that sampled with the one that was trained, over the sampled tokens.

    With s and t their log-probabilities: logprob_gap_sample_train = mean(|s - t|), kl_sample_train_v1 = mean(s - t), kl_sample_train_v2 = mean((s - t)^2) / 2,
    kl_sample_train_v3 = mean(exp(t - s) - 1 - (t - s)), entropy = -mean(s), the KLs and entropy under the names of
    tinker-cookbook. Before the first step all but the entropy are what sampler and trainer differ by: near 0, or something is
    wrong (`divergence`). No token gives no metrics.

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
        "logprob_gap_sample_train": total(abs(s - t) for s, t in pairs) / count,
        "kl_sample_train_v1": total(kl_estimate(s, t, "k1").value for s, t in pairs) / count,
        "kl_sample_train_v2": total(kl_estimate(s, t, "k2").value for s, t in pairs) / count,
        "kl_sample_train_v3": total(kl_estimate(s, t, "k3").value for s, t in pairs) / count,
        "entropy": -total(s for s, _ in pairs) / count,
    }


def divergence(metrics: Mapping[str, float]) -> str | None:
    """Say that a sampler does not play the policy that is trained: by how much, the likely cause and the fix; None if it does.

    Args:
        metrics: what `policy_metrics` gave before the first step on data of the policy as it is.

    >>> divergence({"logprob_gap_sample_train": 1e-5, "kl_sample_train_v3": 1e-9}) is None, divergence({}) is None
    (True, True)
    >>> print(divergence({"logprob_gap_sample_train": 0.05, "kl_sample_train_v3": 0.002}))
    sampler and trainer differ by 0.05 nats a token on average (KL 0.002): likely they compute in different precisions, or in \
bfloat16; sample and train in float32, or see that the gap stays small beside the clip range of the loss
    """
    gap, kl = metrics.get("logprob_gap_sample_train", 0.0), metrics.get("kl_sample_train_v3", 0.0)
    if gap <= MAX_GAP:
        return None
    if gap <= _OTHER_POLICY:
        cause = "likely they compute in different precisions, or in bfloat16"
        fix = "sample and train in float32, or see that the gap stays small beside the clip range of the loss"
    else:
        cause = "likely the sampler plays other weights, or gives log-probabilities at another temperature or of a cut vocabulary"
        fix = "compare compute_logprobs of the sampler with forward of the trainer on one text"
    return f"sampler and trainer differ by {gap:.3g} nats a token on average (KL {kl:.2g}): {cause}; {fix}"
