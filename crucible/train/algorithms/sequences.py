"""Log-probabilities of whole sequences, and how a derivative by one reaches its tokens.

Letters: N sequences of a batch, T positions of a sequence. All of it is linear: a sequence's score is the weighted sum of
its tokens' log-probabilities, so the derivative by a token is that by the sequence, times the token's weight.
"""

from collections.abc import Sequence

Numbers = tuple[float, ...]


def sequence_logprobs(logprobs_NT: Sequence[Sequence[float]], weights_NT: Sequence[Sequence[float]]) -> Numbers:
    """Give the weighted sum of the log-probabilities of each sequence; where a weight is 0 nothing counts.

    >>> sequence_logprobs([(-1.0, -2.0, -4.0)], [(0.0, 1.0, 1.0)])
    (-6.0,)

    Raises: ValueError when the shapes differ.
    """
    return tuple(
        sum((logprob * weight for logprob, weight in zip(logprobs, weights, strict=True) if weight), 0.0)
        for logprobs, weights in zip(logprobs_NT, weights_NT, strict=True)
    )


def averaging_weights(weights_NT: Sequence[Sequence[float]]) -> tuple[Numbers, ...]:
    """Scale the weights of each sequence to sum to 1, so that its score is a mean; those of sum 0 stay as they are.

    >>> averaging_weights([(0.0, 1.0, 1.0), (0.0,)])
    ((0.0, 0.5, 0.5), (0.0,))
    """
    return tuple(
        tuple(weight / total for weight in weights) if (total := sum(weights)) else tuple(weights)
        for weights in weights_NT
    )


def spread(slopes_N: Sequence[float], weights_NT: Sequence[Sequence[float]]) -> tuple[Numbers, ...]:
    """Give the derivative by each token's log-probability from that by each sequence's score.

    >>> spread([2.0], [(0.0, 0.5, 0.5)])
    ((0.0, 1.0, 1.0),)
    """
    return tuple(
        tuple(slope * weight for weight in weights) for slope, weights in zip(slopes_N, weights_NT, strict=True)
    )
