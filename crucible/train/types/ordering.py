"""The order that a seed stands for: the same in every handler, on every machine."""

import random


def permutation(length: int, *, seed: int) -> tuple[int, ...]:
    """Give the indices 0 to `length` - 1 in the order of `seed` (Fisher and Yates, Durstenfeld's form).

    It draws only with `Random.random`, whose sequence Python promises to keep between versions.

    >>> permutation(5, seed=0)
    (3, 1, 4, 0, 2)
    >>> sorted(permutation(100, seed=7)) == list(range(100))
    True
    """
    draw = random.Random(f"permutation/{seed}").random
    order = list(range(length))
    for i in range(length - 1, 0, -1):
        j = int(draw() * (i + 1))
        order[i], order[j] = order[j], order[i]
    return tuple(order)
