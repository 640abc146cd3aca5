"""Several passes over one batch of experience, in minibatches, as PPO takes them."""

import itertools

from crucible.train.types.ordering import permutation


def minibatches(
    num_examples: int, *, num_minibatches: int, num_epochs: int = 1, seed: int = 0
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Give, for each epoch, the indices of each minibatch: a new permutation in each epoch, the same in each run.

    Sizes differ by at most one; with fewer examples than minibatches there are as many minibatches as examples. Schulman et
    al. 2017 (arXiv 1707.06347, algorithm 1). Seed by the step of the run, so that each batch is split in its own way.

    >>> epochs = minibatches(5, num_minibatches=2, num_epochs=2, seed=7)
    >>> [[len(part) for part in epoch] for epoch in epochs], [sorted(sum(epoch, ())) for epoch in epochs]
    ([[3, 2], [3, 2]], [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])

    Raises: ValueError when there is to be no minibatch or no epoch.
    """
    if num_minibatches < 1 or num_epochs < 1:
        raise ValueError(f"num_minibatches and num_epochs are at least 1, not {num_minibatches} and {num_epochs}")
    parts = min(num_minibatches, num_examples)
    return tuple(_split(permutation(num_examples, seed=1_000_003 * seed + epoch), parts) for epoch in range(num_epochs))


def _split(order: tuple[int, ...], parts: int) -> tuple[tuple[int, ...], ...]:
    ends = [0]
    for part in range(parts):
        ends.append(ends[-1] + len(order) // parts + (part < len(order) % parts))
    return tuple(order[start:end] for start, end in itertools.pairwise(ends))
