"""The ports that the kitchen owns: each is defined here and nowhere else."""

from crucible.kitchen.ports.evaluator import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator

__all__ = ["AnsweredRow", "EvaluationReport", "EvaluationRequest", "Evaluator"]
