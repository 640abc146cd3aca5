"""`Evaluator` over the scorers that only compare: they need nothing."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import attrs

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.scorers._requests import request_problem
from crucible.kitchen.ports import EvaluationReport, EvaluationRequest, Evaluator, expected_answers
from crucible.train.errors import BackendFailed, InvalidRequest
from crucible.train.scoring import (
    Scorer,
    contains,
    exact_match,
    macro_metrics,
    matches_pattern,
    numeric_match,
    token_f1,
)

Measure = Callable[[Sequence[str], Sequence[str]], float]

SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {
        "exact_match": exact_match,
        "contains": contains,
        "f1": token_f1,
        "numeric": numeric_match,
        "regex": matches_pattern,
    }
)
"""Metrics that are the mean of a score for each example, by name."""

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "macro_precision": lambda answers, expected: macro_metrics(answers, expected).precision,
        "macro_recall": lambda answers, expected: macro_metrics(answers, expected).recall,
        "macro_f1": lambda answers, expected: macro_metrics(answers, expected).f1,
    }
)
"""Metrics of all examples together, the stripped texts taken for names of classes."""


def evaluator(*, score: str = "exact_match", scorers: Mapping[str, Scorer] = SCORERS) -> Handlers[Evaluator]:
    """Handle evaluation by scorers.

    The metrics are `accuracy`, the share of scores that are 1.0; `mean_score`; each of `scorers` by its name; and the
    measures of `MEASURES`.

    Args:
        score: the scorer whose scores the examples get, and that `accuracy` and `mean_score` are of.
        scorers: the scorers by name.

    Raises: ValueError when `score` is none of them.
    """
    if score not in scorers:
        raise ValueError(f"there is no scorer {score!r}; there are: {', '.join(sorted(scorers))}")
    return Evaluator.handled_by(ScorerEvaluator(score=score, scorers=scorers))


@attrs.frozen(kw_only=True)
class ScorerEvaluator(Evaluator):
    """An `Evaluator` of pure functions."""

    score: str
    scorers: Mapping[str, Scorer]

    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        """Score each example."""
        problem = request_problem(request, {"accuracy", "mean_score", *self.scorers, *MEASURES})
        if problem is not None:
            return Failure(problem)
        expected = expected_answers(request.examples)
        return expected if isinstance(expected, Failure) else self._report(request, expected.unwrap())

    def _report(self, request: EvaluationRequest, expected: Sequence[str]) -> Result[EvaluationReport, KitchenError]:
        pairs = [(example.answer, wanted) for example, wanted in zip(request.examples, expected, strict=True)]
        names = {self.score, *(name for name in request.metrics if name in self.scorers)}
        scores: dict[str, tuple[float, ...]] = {}
        for name in sorted(names):
            scored = _scores(name, self.scorers[name], pairs)
            if isinstance(scored, Failure):
                return scored
            scores[name] = scored.unwrap()
        metrics = {name: self._metric(name, scores, pairs) for name in request.metrics}
        return Success(EvaluationReport(metrics=metrics, scores=scores[self.score]))

    def _metric(self, name: str, scores: Mapping[str, tuple[float, ...]], pairs: Sequence[tuple[str, str]]) -> float:
        own = scores[self.score]
        if name == "accuracy":
            return sum(score == 1.0 for score in own) / len(own)
        if name in MEASURES and name not in self.scorers:
            return MEASURES[name]([answer.strip() for answer, _ in pairs], [expected.strip() for _, expected in pairs])
        return math.fsum(scores.get(name, own)) / len(own)


def _scores(name: str, scorer: Scorer, pairs: Sequence[tuple[str, str]]) -> Result[tuple[float, ...], KitchenError]:
    scores: list[float] = []
    for index, (answer, expected) in enumerate(pairs):
        try:
            score = scorer(answer, expected)
        except (ValueError, re.error) as error:
            message = f"{name} cannot score by {expected!r}: {error}"
            return Failure(InvalidRequest(message=message, fix="correct the row", index=index))
        if not math.isfinite(score):
            return Failure(BackendFailed(message=f"{name} scores example {index} with {score}"))
        scores.append(score)
    return Success(tuple(scores))
