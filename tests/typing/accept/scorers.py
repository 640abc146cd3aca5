"""Evaluators of scores that need other ports are made with the handlers of those ports, or of more."""

from typing import assert_type

from crucible.effects import Eff, Handlers
from crucible.kitchen.handlers import noop, scorers
from crucible.kitchen.ports import AnsweredRow, Evaluator
from crucible.train.ports import EmbeddingClient, LLMClient
from crucible.train.scoring import Rubric, both_of

judged = scorers.verdict(Rubric(criteria="It is right."))


def both_scores(example: AnsweredRow) -> Eff[float, scorers.ScoreError, EmbeddingClient | LLMClient]:
    return both_of(scorers.similarity(example), judged(example))


assert_type(scorers.evaluator_of(scorers.similarity, using=noop.embeddings()), Handlers[Evaluator])
assert_type(scorers.evaluator_of(scorers.cases_passed(), using=noop.all()), Handlers[Evaluator])
assert_type(scorers.evaluator_of(both_scores, using=noop.embeddings() | noop.llm()), Handlers[Evaluator])
