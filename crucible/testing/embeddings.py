"""The contract of `EmbeddingClient`, as a suite that any handler can be put through."""

import math
from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import obey, require, require_close, require_equal
from crucible.train.errors import TrainError
from crucible.train.ports import EmbeddingClient
from crucible.train.types import Vector

Law: TypeAlias = Do[TrainError, EmbeddingClient, None]

TEXTS = ("the cat sat on the mat", "the cat sat on a mat", "interest rates rose in March", "")


def check_embedding_client(make: Callable[[], Handlers[EmbeddingClient]], *, tolerance: float = 1e-4) -> None:
    """Put the handlers that `make` gives through the contract of `EmbeddingClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        tolerance: how far numbers may be apart that should be equal.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "each text has a vector of length 1, all of one dimension": _shapes(tolerance),
        "the same text has the same vector, whatever stands beside it": _sameness(tolerance),
        "texts with words in common are more alike": _likeness(),
    }
    obey(make, laws)


@do
def _shapes(tolerance: float) -> Law:
    vectors = yield from perform(EmbeddingClient.embed_texts, TEXTS)
    require_equal(len(vectors), len(TEXTS), "the number of vectors")
    require_equal(len(set(map(len, vectors))), 1, "the number of different dimensions")
    for vector in vectors:
        require_close(math.hypot(*vector), 1.0, "the length of a vector", tolerance=tolerance)
    require_equal((yield from perform(EmbeddingClient.embed_texts, ())), (), "the vectors of no texts")


@do
def _sameness(tolerance: float) -> Law:
    vectors = yield from perform(EmbeddingClient.embed_texts, TEXTS)
    for text, vector in reversed(list(zip(TEXTS, vectors, strict=True))):
        alone, twice = yield from perform(EmbeddingClient.embed_texts, [text, text])
        require(max(_distance(alone, vector), _distance(twice, vector)) <= tolerance, f"{text!r} has two vectors")


@do
def _likeness() -> Law:
    cat, other_cat, rates, _ = yield from perform(EmbeddingClient.embed_texts, TEXTS)
    near, far = _distance(cat, other_cat), _distance(cat, rates)
    require(near < far, f"{TEXTS[1]!r} is {near:.3f} from {TEXTS[0]!r}, and {TEXTS[2]!r} only {far:.3f}")


def _distance(first: Vector, second: Vector) -> float:
    return math.dist(first, second)
