"""How likely a model finds a text, and how likely it is to solve a problem in k attempts."""

import math
from collections.abc import Sequence


def mean_nll(logprobs: Sequence[Sequence[float]], weights: Sequence[Sequence[float]] | None = None) -> float:
    """Give the mean negative log-likelihood over tokens: each token counts by its weight, whatever sequence it stands in.

    It is - sum(w * log p) / sum(w) over all tokens, so a long sequence counts for more than a short one.

    >>> mean_nll([[-1.0, -2.0], [-6.0]]), mean_nll([[-1.0, -2.0]], [[0.0, 1.0]])
    (3.0, 2.0)

    Raises: ValueError when shapes differ, a weight is negative, or no token counts.
    """
    shaped = [[1.0] * len(sequence) for sequence in logprobs] if weights is None else weights
    pairs = [
        (weight, logprob)
        for sequence, theirs in zip(logprobs, shaped, strict=True)
        for logprob, weight in zip(sequence, theirs, strict=True)
    ]
    if any(weight < 0 for weight, _ in pairs):
        raise ValueError("a weight is below 0")
    total = math.fsum(weight for weight, _ in pairs)
    if total == 0:
        raise ValueError("no token counts, so there is no mean")
    return -math.fsum(weight * logprob for weight, logprob in pairs if weight) / total + 0.0


def perplexity(nll: float) -> float:
    """Give e to the mean negative log-likelihood; infinite where a float cannot hold it.

    >>> perplexity(0.0), perplexity(1e9)
    (1.0, inf)
    """
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Estimate the probability that at least one of k samples is right, from n samples of which c are.

    1 - C(n-c, k) / C(n, k): the unbiased estimator of Chen et al. 2021 (Evaluating Large Language Models Trained on Code,
    eq. 1), computed in whole numbers and rounded once.

    >>> pass_at_k(5, 2, 1), pass_at_k(5, 2, 2), pass_at_k(5, 4, 2)
    (0.4, 0.7, 1.0)

    Raises: ValueError unless 0 <= c <= n and 1 <= k <= n; fewer than k samples say nothing about k.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} of {num_samples} samples cannot be right")
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} cannot be estimated from {num_samples} samples")
    every = math.comb(num_samples, k)
    return (every - math.comb(num_samples - num_correct, k)) / every


def mean_pass_at_k(results: Sequence[tuple[int, int]], k: int) -> float:
    """Give the mean of `pass_at_k` over problems, each given as its number of samples and of right ones.

    >>> mean_pass_at_k([(5, 2), (5, 0)], 1)
    0.2

    Raises: ValueError for no problem at all, and where `pass_at_k` does.
    """
    if not results:
        raise ValueError("no problem was tried")
    return math.fsum(pass_at_k(samples, correct, k) for samples, correct in results) / len(results)
