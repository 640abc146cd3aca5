"""A report says what the evaluation said, in any format, and nothing in it can break out of its format."""

import json
import math
from typing import Any

import pytest

from crucible.kitchen.ports import AnsweredRow, EvaluationReport, EvaluationRequest, ReportFormat, generate_report
from crucible.kitchen.ports.evaluator import checked_report

REPORT = EvaluationReport(metrics={"b|<b>": 0.25, "accuracy": 0.5}, scores=(1.0, 0.0))


@pytest.mark.parametrize("how", ["markdown", "json", "html"])
def test_a_report_has_every_metric_and_the_number_of_examples(how: ReportFormat) -> None:
    text = generate_report(REPORT, format=how)
    assert "accuracy" in text
    assert "0.5" in text
    assert "2" in text


def test_names_are_escaped() -> None:
    assert "<b>" not in generate_report(REPORT, format="html")
    assert all(line.count("|") == 3 for line in generate_report(REPORT).splitlines() if line.startswith("|"))


def test_json_stays_json_when_a_metric_is_not_a_number() -> None:
    text = generate_report(EvaluationReport(metrics={"x": math.nan}, scores=()), format="json")

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["num_examples"] == 0


@pytest.mark.parametrize(
    ("metrics", "score", "why"),
    [
        ({"accuracy": 1.0}, None, "scored 0 of 1 answers: the score of example 0 is None, which is no number"),
        ({"accuracy": 1.0}, "1", "scored 0 of 1 answers: the score of example 0 is '1', which is no number"),
        ({"accuracy": None}, 1.0, "gave no metric of 1 answers: accuracy is None, which is no number"),
    ],
)
def test_what_an_evaluator_without_types_says_in_the_place_of_a_number_is_named(
    metrics: Any, score: Any, why: str
) -> None:
    asked = EvaluationRequest(dataset="sums", examples=(AnsweredRow(row={}, answer="4", expected="4"),))
    failed = checked_report(asked, EvaluationReport(metrics=metrics, scores=(score,))).failure()
    assert str(failed).endswith(why)
