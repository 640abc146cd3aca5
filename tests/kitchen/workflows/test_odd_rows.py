"""Rows of any shape through every workflow: a run gives a result or an error value, never an exception."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Failure, Result, from_result
from crucible.kitchen import Recipe, run
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.handlers import noop, scorers
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import distillation, preference, reinforcement, supervised
from crucible.train.environments import ProblemEnv
from crucible.train.errors import TrainError
from crucible.train.renderers import Renderer
from crucible.train.types import DatasetConfig, Row, SamplingConfig, SessionConfig

C = TypeVar("C")
Rows = dict[str, list[dict[str, object]]]
SESSION, TRAIN, TEST = SessionConfig(model="m"), DatasetConfig(name="d"), DatasetConfig(name="d", split="test")
EVALUATION = EvaluationConfig(dataset=TEST, num_examples=3, max_tokens=4)

roles = st.sampled_from(["user", "assistant", "system", "tool", "bogus", None, 3])
plain: st.SearchStrategy[Any] = st.one_of(  # Any: values of any kind
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["hi", "<|im_end|>", "\0"]),
)
values: st.SearchStrategy[Any] = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"role": roles, "content": inner}, optional={"tool_calls": inner}), max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)
columns = [
    "prompt",
    "completion",
    "messages",
    "chosen",
    "rejected",
    "question",
    "answer",
    "text",
    "label",
    "tools",
    "id",
]
rows = st.dictionaries(st.sampled_from(columns), values, max_size=4)


def environment(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    return from_result(row_environment(row, renderer, RowRules(dataset="d")))


def outcome(recipe: Recipe[C, object, object, Any], given_rows: Rows) -> Result[object, object]:
    return run(recipe, noop.all() | noop.datasets(rows=given_rows) | scorers.evaluator())


def learn(given_rows: Rows) -> Result[object, object]:
    config = SupervisedConfig(session=SESSION, dataset=TRAIN, batch_size=2, evaluation=EVALUATION)
    return outcome(Recipe(name="r", description="", workflow=supervised, default_config=config), given_rows)


def prefer(given_rows: Rows) -> Result[object, object]:
    config = PreferenceConfig(session=SESSION, dataset=TRAIN, batch_size=2, held_out=TEST)
    return outcome(Recipe(name="r", description="", workflow=preference, default_config=config), given_rows)


def reinforce(given_rows: Rows) -> Result[object, object]:
    config = ReinforcementConfig(
        session=SESSION, dataset=TRAIN, batch_size=2, group_size=2, max_tokens=4, evaluation=EVALUATION
    )
    workflow = reinforcement(environment)
    return outcome(Recipe(name="r", description="", workflow=workflow, default_config=config), given_rows)


def distil(given_rows: Rows) -> Result[object, object]:
    config = DistillationConfig(
        session=SESSION,
        dataset=TRAIN,
        teachers=(SamplingConfig(model="t"),),
        batch_size=2,
        group_size=2,
        max_tokens=4,
        evaluation=EVALUATION,
    )
    return outcome(Recipe(name="r", description="", workflow=distillation, default_config=config), given_rows)


SOUND: dict[Callable[[Rows], Result[object, object]], dict[str, object]] = {
    learn: {"prompt": "a", "completion": "b"},
    prefer: {"prompt": "a", "chosen": "b", "rejected": "c"},
    reinforce: {"prompt": "a", "answer": "b"},
    distil: {"prompt": "a", "answer": "b"},
}


@pytest.mark.parametrize("workflow", SOUND, ids=lambda workflow: workflow.__name__)
@settings(deadline=None, max_examples=50)
@given(changes=st.lists(rows, min_size=1, max_size=3), held_out=rows, keeps=st.booleans())
def test_no_row_is_an_exception(
    workflow: Callable[[Rows], Result[object, object]],
    changes: list[dict[str, object]],
    held_out: dict[str, object],
    keeps: bool,
) -> None:
    base = SOUND[workflow] if keeps else {}
    result = workflow({"train": [{**base, **change} for change in changes], "test": [{**base, **held_out}]})
    if isinstance(result, Failure):
        assert len(str(result.failure())) > 10
