"""Evaluators of scores whose ports are not handled."""

from crucible.effects import Eff, fail
from crucible.kitchen.handlers import noop, scorers
from crucible.kitchen.ports import AnsweredRow
from crucible.train.ports import EmbeddingClient
from tests.typing.accept.scorers import both_scores

no_sandbox = scorers.evaluator_of(scorers.cases_passed(), using=noop.llm())  # E: arg-type "CodeClient]]"; expected"
no_judge = scorers.evaluator_of(both_scores, using=noop.embeddings())  # E: arg-type "EmbeddingClient | LLMClient]]"; expected"


def fails_otherwise(example: AnsweredRow) -> Eff[float, str, EmbeddingClient]:
    return fail("no idea")


an_error_that_nobody_knows = scorers.evaluator_of(fails_otherwise, using=noop.embeddings())  # E: arg-type "str"
