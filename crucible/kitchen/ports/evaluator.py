"""`Evaluator`: the port that judges answers."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import attrs

from crucible.effects import Failure, Port, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.train.errors import BackendFailed, InvalidRequest, Unavailable
from crucible.train.finite import not_finite
from crucible.train.types import Row


@attrs.frozen(kw_only=True)
class AnsweredRow:
    """A row of a dataset, what a model answered to it, and what the row expects: None where it names no answer."""

    row: Row
    answer: str
    expected: str | None


@attrs.frozen(kw_only=True)
class EvaluationRequest:
    """Answers to judge, and the metrics asked for; a handler refuses a metric that it does not know."""

    dataset: str
    examples: tuple[AnsweredRow, ...]
    metrics: tuple[str, ...] = ("accuracy",)


@attrs.frozen(kw_only=True)
class EvaluationReport:
    """The metrics by name, and the score of each example in order, from 0.0 (wrong) to 1.0 (right)."""

    metrics: Mapping[str, float]
    scores: tuple[float, ...]


class Evaluator(Port, unanswered=Unavailable.because):
    """Judges answers that a model gave. It never runs the model."""

    @abstractmethod
    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Score each example and give the metrics. Nothing to judge is an error, not a zero.

        An example that expects nothing is judged by the row alone, or is an InvalidRequest with its index.
        """


def checked_report(request: EvaluationRequest, report: EvaluationReport) -> Result[EvaluationReport, BackendFailed]:
    """Give a report that keeps the port's promise: one score for each example, and nothing that is NaN or infinite.

    Fails: BackendFailed with the index of the example, or the name of the metric, of which the evaluator says anything else.
    """
    expected = len(request.examples)
    odd_scores = [not_finite({f"the score of example {index}": score}) for index, score in enumerate(report.scores)]
    num_scored, odd = odd_scores.count(None), next((odd for odd in odd_scores if odd is not None), None)
    said = f"the evaluator scored {num_scored} of {expected} answers"
    if odd is None and len(report.scores) == expected:
        odd = not_finite(report.metrics)
        if odd is None and report.metrics:
            return Success(report)
        said = f"the evaluator gave no metric of {expected} answers"
    return Failure(BackendFailed(message=f"{said}: {odd}" if odd else said))


def expected_answers(examples: Sequence[AnsweredRow]) -> Result[tuple[str, ...], InvalidRequest]:
    """Give what each example expects, for a handler that cannot judge without it.

    >>> expected_answers([AnsweredRow(row={}, answer="4", expected="4")]).unwrap()
    ('4',)

    Fails: InvalidRequest with the index of an example that expects nothing.
    """
    expected = []
    for index, example in enumerate(examples):
        if example.expected is None:
            fix = "use rows that have an answer, or an evaluator with the task's own verifier"
            return Failure(InvalidRequest(message="the row has no answer to compare with", fix=fix, index=index))
        expected.append(example.expected)
    return Success(tuple(expected))
