"""Cosines of many vectors: a quick pass in float32 says which may be among the best, float64 says which are.

Shapes: N rows, Q questions, D numbers in a vector.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Doubles: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.intp]


def units(vectors_ND: Doubles) -> Doubles:
    """Make the length of each vector 1, however long or short it is, as long as it is not all zeros.

    >>> units(np.array([[3e300, 4e300], [0.0, 5e-324]])).tolist()
    [[0.6, 0.8], [0.0, 1.0]]
    """
    scaled_ND: Doubles = vectors_ND / np.abs(vectors_ND).max(axis=1, keepdims=True)
    scaled_ND /= np.sqrt((scaled_ND * scaled_ND).sum(axis=1, keepdims=True))
    return scaled_ND


def margin(dimension: int) -> float:
    """Say how far a cosine in float32 may be from the true one, twice over: further apart, and the order is certain."""
    return 4 * (dimension + 4) * float(np.finfo(np.float32).eps)


def shortlist(units_ND: Singles, question_D: Singles, num_results: int) -> Places:
    """Give the places of all rows that may be among the `num_results` most similar."""
    cosines_N = units_ND @ question_D
    if num_results >= len(cosines_N):
        return np.arange(len(cosines_N))
    worst = np.partition(cosines_N, len(cosines_N) - num_results)[len(cosines_N) - num_results]
    return np.flatnonzero(cosines_N >= worst - margin(units_ND.shape[1]))


def ranked(ids: Sequence[str], vectors_ND: Doubles, question_D: Doubles) -> list[tuple[int, float]]:
    """Order rows by their cosine to a question, best first, ties by id: the places, each with its cosine.

    The cosine of a row depends on nothing but the row and the question.
    """
    cosines_N = np.clip((units(vectors_ND) * units(question_D[None])).sum(axis=1), -1.0, 1.0).tolist()
    return sorted(enumerate(cosines_N), key=lambda found: (-found[1], ids[found[0]]))
