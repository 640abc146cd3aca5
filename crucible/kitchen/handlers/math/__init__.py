"""`math-verify` as an evaluator of mathematical answers; needs the extra `math`."""

import importlib.util
from collections.abc import Set as AbstractSet

import anyio
import attrs

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.math import _grader
from crucible.kitchen.handlers.subprocess import EVERY_GUARANTEE, Guarantee
from crucible.kitchen.ports import EvaluationReport, EvaluationRequest, Evaluator, expected_answers
from crucible.train.environments import final_answer
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    StorageFailed,
    TrainError,
    Unsupported,
)

__all__ = ["MathVerifier", "verifier"]


def verifier(*, seconds: float = 10.0, without: AbstractSet[Guarantee] = frozenset()) -> Handlers[Evaluator]:
    """Judge mathematics: the score of an example is 1.0 when its answer equals the expected one, else 0.0.

    The answer is what stands in the last box of the text; without a box what follows GSM8K's `####`; else all of the text,
    read as one formula and not searched for one. So it is with what is expected. The only metric is `accuracy`.

    An answer that cannot be read as mathematics is wrong. An expected one that cannot be read, a grader that fails, and one
    that takes too long are errors with the index of the example, never a wrong answer.

    The library runs in a sandboxed process of its own (see `subprocess.code`), which is kept between answers, and answers
    one at a time.

    Args:
        seconds: the most that one answer may take.
        without: guarantees that are given up, as for `subprocess.code`.
    """
    return Evaluator.handled_by(MathVerifier(_grader.Grader(promised=EVERY_GUARANTEE - without, seconds=seconds)))


class MathVerifier(Evaluator):
    """Judges by a grading process."""

    def __init__(self, grader: _grader.Grader) -> None:
        self._grader = grader

    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Grade each answer."""
        unknown = set(request.metrics) - {"accuracy"}
        if unknown or not request.examples:
            message = f"cannot judge {sorted(unknown) or 'nothing at all'}"
            return Failure(InvalidRequest(message=message, fix="ask for accuracy, on at least one example"))
        if importlib.util.find_spec("math_verify") is None:
            return Failure(MissingExtra(extra="math", package="math-verify"))
        expected = expected_answers(request.examples)
        if isinstance(expected, Failure):
            return expected
        scores: list[float] = []
        for index, (example, wanted) in enumerate(zip(request.examples, expected.unwrap(), strict=True)):
            graded = await anyio.to_thread.run_sync(self._graded, example.answer, wanted)
            if isinstance(graded, Failure):
                return Failure(_located(graded.failure(), index))
            scores.append(float(graded.unwrap()))
        accuracy = {"accuracy": sum(scores) / len(scores)}
        metrics = {name: accuracy[name] for name in request.metrics}
        return Success(EvaluationReport(metrics=metrics, scores=tuple(scores)))

    def _graded(self, answer: str, expected: str) -> Result[bool, TrainError]:
        return self._grader.grade(final_answer(answer), final_answer(expected))


def _located(error: TrainError, index: int) -> KitchenError:
    """Say which example an error is about."""
    match error:
        case InvalidRequest():
            return attrs.evolve(error, index=index)
        case Unsupported() | StorageFailed():
            return error
        case _:
            return BackendFailed(message=f"example {index}: {error}")
