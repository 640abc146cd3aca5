"""Rows as environments: whatever the `Evaluator` judges, a policy can be rewarded by."""

from typing import Never

import pytest

from crucible.effects import Eff, Handlers, Result, Success, pure
from crucible.kitchen.environments import RowRules, evaluator_grade, row_environment
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import scorers
from crucible.kitchen.ports import EvaluationReport, EvaluationRequest, Evaluator
from crucible.train.environments import EnvironmentFailed, MathProblem, last_boxed, math_env, rollout
from crucible.train.errors import InvalidRequest
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import ByteTokenizer, Message, Row, Sample

RENDERER = ChatTemplateRenderer(ByteTokenizer())
ROW: Row = {"question": "2+2?", "answer": "4"}


def saying(text: str) -> Eff[Sample, str, Never]:
    tokens = ByteTokenizer().encode(text + ByteTokenizer.END)
    return pure(Sample(tokens=tokens, logprobs=(0.0,) * len(tokens), stop_reason="stop"))


def reward(rules: RowRules, text: str, handlers: Handlers[Evaluator] = scorers.evaluator()) -> float:
    environment = row_environment(ROW, RENDERER, rules).unwrap()
    return handlers.run(rollout(environment, lambda prompt, stop: saying(text))).unwrap().total_reward


def test_an_answer_earns_what_the_evaluator_says() -> None:
    assert reward(RowRules(dataset="d"), "4") == 1.0
    assert reward(RowRules(dataset="d"), "5") == 0.0


def test_only_the_extracted_answer_is_judged_and_a_missing_one_costs_the_form() -> None:
    rules = RowRules(dataset="d", extract=last_boxed, format_coef=0.25)
    assert reward(rules, r"it is \boxed{4}") == 1.0
    assert reward(rules, r"it is \boxed{5}") == 0.0
    assert reward(rules, "4") == -0.25


def test_a_conversation_may_come_before() -> None:
    rules = RowRules(dataset="d", prefix=(Message(role="system", content="Be brief."),))
    environment = row_environment(ROW, RENDERER, rules).unwrap()
    assert [message.role for message in environment.messages] == ["system", "user"]


@pytest.mark.parametrize("row", [{}, {"messages": [{"role": "user", "content": "?"}]}])
def test_a_row_without_an_answer_is_refused_by_its_index(row: Row) -> None:
    error = row_environment(row, RENDERER, RowRules(dataset="d"), index=3).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 3


class Odd(Evaluator):
    async def evaluate(self, request: EvaluationRequest) -> Result[EvaluationReport, KitchenError]:
        return Success(EvaluationReport(metrics={}, scores=(7.0,)))


def test_a_score_out_of_range_is_a_failure() -> None:
    environment = row_environment(ROW, RENDERER, RowRules(dataset="d")).unwrap()
    result = Evaluator.handled_by(Odd()).run(rollout(environment, lambda prompt, stop: saying("4")))
    assert isinstance(result.failure(), EnvironmentFailed)


def test_a_math_problem_is_graded_by_the_evaluator() -> None:
    problem = MathProblem(question="2+2?", answer="4")
    environment = math_env(problem, RENDERER, evaluator_grade("math", {}))
    result = scorers.evaluator(score="numeric").run(rollout(environment, lambda prompt, stop: saying(r"\boxed{4.0}")))
    assert result.unwrap().total_reward == 1.0
