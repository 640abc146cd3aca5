"""Mathematics is graded by what it means, and what cannot be graded is an error."""

import gc
import io
import json
import tempfile
from pathlib import Path

import pytest

from crucible.effects import Handlers, perform
from crucible.kitchen.handlers import math
from crucible.kitchen.handlers.math import _worker
from crucible.kitchen.handlers.math._grader import Grader
from crucible.kitchen.handlers.subprocess import EVERY_GUARANTEE
from crucible.kitchen.ports import AnsweredRow, EvaluationRequest, Evaluator
from crucible.testing import check_evaluator
from crucible.train.errors import BackendFailed, InvalidRequest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def verifier() -> Handlers[Evaluator]:
    return math.verifier(seconds=20)


def row(answer: str, expected: str) -> AnsweredRow:
    return AnsweredRow(row={}, answer=answer, expected=expected)


def score(handlers: Handlers[Evaluator], answer: str, expected: str) -> float:
    request = EvaluationRequest(dataset="d", examples=(row(answer, expected),))
    return handlers.run(perform(Evaluator.evaluate, request)).unwrap().scores[0]


def test_the_contract_is_kept(verifier: Handlers[Evaluator]) -> None:
    right = [row(r"so \boxed{\frac{1}{2}}", "0.5"), row("#### 4", "4")]
    check_evaluator(lambda: verifier, right=right, wrong=[row(r"\boxed{3}", "4")])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"\boxed{1/2}", "0.5"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{\sqrt{2}}{2}"),
        (r"\boxed{(x+1)^2}", "x^2+2x+1"),
        (r"\boxed{\{1,2\}}", r"\{2,1\}"),
        (r"\boxed{3}, no, \boxed{4}", "4"),
        (r"\boxed{4}", "2 + 2 = 4.\n#### 4"),
        (r"\boxed{1,000}", "1000"),
    ],
)
def test_equal_mathematics_is_right(verifier: Handlers[Evaluator], answer: str, expected: str) -> None:
    assert score(verifier, answer, expected) == 1.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (r"\boxed{43}", "42"),
        (r"\boxed{42}, no, \boxed{41}", "42"),
        ("it is 42, or 43", "43"),
        ("", "42"),
        ("%$#", "42"),
        (r"\boxed{__import__('os').system('true')}", "0"),
        ("\ud800", "1"),
    ],
)
def test_other_texts_are_wrong(verifier: Handlers[Evaluator], answer: str, expected: str) -> None:
    assert score(verifier, answer, expected) == 0.0


def test_what_is_expected_comes_first_in_the_library(verifier: Handlers[Evaluator]) -> None:
    # math-verify is not symmetric: it takes an answer `x = 5` for an expected `5`, and not the other way round.
    assert score(verifier, r"\boxed{x = 5}", "5") == 1.0


def test_an_expected_answer_that_is_no_mathematics_is_an_error(verifier: Handlers[Evaluator]) -> None:
    request = EvaluationRequest(dataset="d", examples=(row("4", "4"), row("4", "%$#")))
    error = verifier.run(perform(Evaluator.evaluate, request)).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 1


def test_an_answer_that_takes_too_long_is_an_error_and_the_next_one_is_graded() -> None:
    handlers = math.verifier(seconds=3)
    request = EvaluationRequest(dataset="d", examples=(row(r"\boxed{9^{9^{9^{9^9}}}}", "3"),))
    error = handlers.run(perform(Evaluator.evaluate, request)).failure()
    assert isinstance(error, BackendFailed)
    assert "example 0" in str(error)
    assert score(handlers, r"\boxed{3}", "3") == 1.0


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_process_and_its_folder_end_with_the_grader(own_folder: Path) -> None:
    grader = Grader(promised=EVERY_GUARANTEE, seconds=60)
    assert grader.grade("4", "4").unwrap()
    assert len(list(own_folder.iterdir())) == 1
    del grader
    gc.collect()
    assert list(own_folder.iterdir()) == []


class TestTheWorker:
    def test_answers_each_line(self) -> None:
        told = io.StringIO()
        lines = "".join(json.dumps(pair) + "\n" for pair in [["4", "4"], ["4", "5"], ["%$#", "4"]])
        _worker.main(io.StringIO(lines), told)
        ready, *answers = map(json.loads, told.getvalue().splitlines())
        assert ready == {"ready": "math_verify"}
        assert answers == [{"right": True}, {"right": False}, {"unreadable": "the expected answer is no mathematics"}]
