"""Which examples make which batch."""

from crucible.train.types.ordering import permutation


def epoch_batches(num_examples: int, *, batch_size: int, epoch: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Give the indices of each batch of an epoch: a permutation of all examples, new in each epoch, the same in each run.

    The last batch holds what is left over; no example is lost or repeated.

    >>> epoch_batches(5, batch_size=2, epoch=0, seed=0) == epoch_batches(5, batch_size=2, epoch=0, seed=0)
    True
    >>> sorted(i for batch in epoch_batches(5, batch_size=2, epoch=1, seed=0) for i in batch)
    [0, 1, 2, 3, 4]

    Raises: ValueError when `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = permutation(num_examples, seed=1_000_003 * seed + epoch)
    return tuple(order[i : i + batch_size] for i in range(0, num_examples, batch_size))


def steps_per_epoch(num_examples: int, *, batch_size: int) -> int:
    """Count the batches of an epoch, a partial last one included.

    >>> steps_per_epoch(5, batch_size=2), steps_per_epoch(0, batch_size=2)
    (3, 0)
    """
    return -(-num_examples // batch_size)
