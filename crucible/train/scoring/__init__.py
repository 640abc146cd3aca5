"""Scorers of answers, from 0.0 to 1.0, and measures over many of them.

A scorer that only compares is a function of an answer and what was expected. One that needs a model or a sandbox gives an
effect, and its failures stay failures: an answer is never wrong because a judge was not there.
"""

from crucible.train.scoring.classification import ClassMetrics, accuracy, class_metrics, macro_metrics
from crucible.train.scoring.composition import all_of, any_of, both_of, either_of, mean_of
from crucible.train.scoring.likelihood import mean_nll, mean_pass_at_k, pass_at_k, perplexity
from crucible.train.scoring.models import (
    Rubric,
    Submission,
    UnreadableVerdict,
    Verdict,
    cosine,
    judge_messages,
    judged,
    read_verdict,
    semantic_similarity,
    verdict_schema,
)
from crucible.train.scoring.programs import CodeCase, code_score, extract_code, passes
from crucible.train.scoring.texts import (
    Scorer,
    contains,
    exact_match,
    last_number,
    matches_pattern,
    normalize,
    numeric_match,
    token_f1,
)

__all__ = [
    "ClassMetrics",
    "CodeCase",
    "Rubric",
    "Scorer",
    "Submission",
    "UnreadableVerdict",
    "Verdict",
    "accuracy",
    "all_of",
    "any_of",
    "both_of",
    "class_metrics",
    "code_score",
    "contains",
    "cosine",
    "either_of",
    "exact_match",
    "extract_code",
    "judge_messages",
    "judged",
    "last_number",
    "macro_metrics",
    "matches_pattern",
    "mean_nll",
    "mean_of",
    "mean_pass_at_k",
    "normalize",
    "numeric_match",
    "pass_at_k",
    "passes",
    "perplexity",
    "read_verdict",
    "semantic_similarity",
    "token_f1",
    "verdict_schema",
]
