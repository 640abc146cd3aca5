"""`Evaluator`: the port that judges answers."""

from abc import abstractmethod
from collections.abc import Mapping

import attrs

from crucible.effects import Port, Result
from crucible.kitchen.errors import KitchenError
from crucible.train.types import Row


@attrs.frozen(kw_only=True)
class AnsweredRow:
    """A row of a dataset, what a model answered to it, and what the row expects."""

    row: Row
    answer: str
    expected: str


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


class Evaluator(Port):
    """Judges answers that a model gave. It never runs the model."""

    @abstractmethod
    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Score each example and give the metrics. Nothing to judge is an error, not a zero."""
