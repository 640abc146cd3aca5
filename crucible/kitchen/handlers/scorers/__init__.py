"""`Evaluator` over the scorers of `crucible.train.scoring`: those that only compare, and those that need other ports."""

from crucible.kitchen.handlers.scorers._compared import MEASURES, SCORERS, ScorerEvaluator, evaluator
from crucible.kitchen.handlers.scorers._performed import (
    PerformedEvaluator,
    RowScore,
    ScoreError,
    cases_passed,
    evaluator_of,
    printed,
    similarity,
    verdict,
)

__all__ = [
    "MEASURES",
    "SCORERS",
    "PerformedEvaluator",
    "RowScore",
    "ScoreError",
    "ScorerEvaluator",
    "cases_passed",
    "evaluator",
    "evaluator_of",
    "printed",
    "similarity",
    "verdict",
]
