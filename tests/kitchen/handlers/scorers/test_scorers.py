"""Evaluation by scorers keeps the contract of `Evaluator`, whichever scorer the scores are of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import perform
from crucible.kitchen.handlers import scorers
from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, Evaluator
from crucible.testing import check_evaluator
from crucible.train.errors import InvalidRequest

RIGHT = [AnsweredRow(row={}, answer=" 4\n", expected="4"), AnsweredRow(row={}, answer="5", expected="5")]
WRONG = [AnsweredRow(row={}, answer="6", expected="7")]


@pytest.mark.parametrize("score", sorted(scorers.SCORERS))
def test_the_contract_is_kept(score: str) -> None:
    check_evaluator(lambda: scorers.evaluator(score=score), right=RIGHT, wrong=WRONG)


def judged(pairs: list[tuple[str, str]], *metrics: str, score: str = "exact_match") -> EvaluationReport:
    examples = tuple(AnsweredRow(row={}, answer=answer, expected=expected) for answer, expected in pairs)
    request = EvaluationRequest(dataset="d", examples=examples, metrics=metrics)
    return scorers.evaluator(score=score).run(perform(Evaluator.evaluate, request)).unwrap()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=8))
def test_every_text_metric_is_there_and_from_0_to_1(pairs: list[tuple[str, str]]) -> None:
    names = ["accuracy", "mean_score", "exact_match", "contains", "f1", "regex", *scorers.MEASURES]
    report = judged(pairs, *names)
    assert set(report.metrics) == set(names)
    assert all(0.0 <= value <= 1.0 for value in report.metrics.values())
    assert report.metrics["accuracy"] == report.metrics["exact_match"] == report.metrics["mean_score"]


def test_scores_are_those_of_the_chosen_scorer() -> None:
    report = judged([("the black cat", "a cat"), ("cat", "cat")], "accuracy", "mean_score", score="f1")
    assert report.scores == pytest.approx((2 / 3, 1.0))
    assert report.metrics == pytest.approx({"accuracy": 0.5, "mean_score": 5 / 6})


@pytest.mark.parametrize(("metric", "expected"), [("numeric", "many"), ("regex", "(")])
def test_a_row_that_nothing_can_be_scored_by_is_an_error_with_its_index(metric: str, expected: str) -> None:
    examples = (RIGHT[0], AnsweredRow(row={}, answer="1", expected=expected))
    request = EvaluationRequest(dataset="d", examples=examples, metrics=(metric,))
    error = scorers.evaluator().run(perform(Evaluator.evaluate, request)).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 1


def test_a_scorer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="exact_match"):
        scorers.evaluator(score="bleu")
