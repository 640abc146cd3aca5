"""Supervised runs that take milliseconds, and what can be read off them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import attrs
from hypothesis import strategies as st

from crucible.effects import Call, Handlers, Result, Success, TracedCall, trace
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers import noop
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.ports import Evaluator, ModelRegistry
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import supervised
from crucible.train.errors import TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient
from crucible.train.types import DatasetConfig, Row, SessionConfig

Ports: TypeAlias = TrainingClient | SamplingClient | DatasetStore | Evaluator | ModelRegistry
Outcome: TypeAlias = Result[Context[SupervisedState], TrainError | KitchenError]

TRAIN = DatasetConfig(name="talk")
HELD_OUT = EvaluationConfig(dataset=DatasetConfig(name="talk", split="test"), num_examples=2, max_tokens=4)
BASE = SupervisedConfig(session=SessionConfig(model="noop"), dataset=TRAIN, learning_rate=1e-3)


def row(number: int) -> Row:
    """Make a row to train on."""
    return {"prompt": f"{number}?", "completion": f"{number}!"}


ROWS = tuple(map(row, range(8)))
TESTED = tuple(map(row, range(100, 103)))


def handlers_of(rows: Sequence[Row] = ROWS, *, shelf: Shelf | None = None) -> Handlers[EveryPort]:
    """Handle every port on nothing, with these rows to train on."""
    datasets: Mapping[str, Sequence[Row]] = {"train": rows, "test": TESTED}
    return noop.all(shelf=shelf) | noop.datasets(rows=datasets)


def train(config: SupervisedConfig, handlers: Handlers[EveryPort]) -> Outcome:
    """Run the workflow."""
    return handlers.run(supervised(Context.start(config, run_id="evening")))


@attrs.frozen
class Log:
    """The calls of a run, in the order in which they ended."""

    calls: list[TracedCall] = attrs.field(factory=list)

    def of(self, name: str) -> list[Call]:
        """Give the calls of one operation."""
        return [traced.call for traced in self.calls if traced.call.name == name]

    def answers(self, name: str) -> list[object]:
        """Give what one operation answered, each time."""
        return [
            traced.result.unwrap()
            for traced in self.calls
            if traced.call.name == name and isinstance(traced.result, Success)
        ]

    @property
    def names(self) -> list[str]:
        """Give the operations, in order."""
        return [traced.call.name for traced in self.calls]


def logged(config: SupervisedConfig, handlers: Handlers[EveryPort]) -> tuple[Outcome, Log]:
    """Run the workflow and give its calls."""
    log = Log()
    return train(config, trace(handlers, into=log.calls.append)), log


Weights: TypeAlias = Mapping[int, tuple[float, ...]]


def weights_of(outcome: Outcome, shelf: Shelf) -> Weights:
    """Give the numbers that training has changed."""
    saved = outcome.unwrap().state.final_weights
    assert saved is not None
    return shelf.get(saved.path, kind="weights").unwrap().policy.changes


# Anything that may be trained on

texts = st.text(min_size=1, max_size=5)
conversations = st.lists(texts, min_size=1, max_size=2).map(
    lambda turns: {
        "messages": [
            message
            for turn in turns
            for message in ({"role": "user", "content": turn}, {"role": "assistant", "content": turn[::-1]})
        ]
    }
)
pairs = st.sampled_from([("prompt", "completion"), ("question", "answer"), ("instruction", "response")]).flatmap(
    lambda names: st.fixed_dictionaries({names[0]: texts, names[1]: texts})
)
rows_of_any_shape: st.SearchStrategy[Row] = st.one_of(conversations, pairs)
many_rows = st.lists(rows_of_any_shape, min_size=1, max_size=7)


def config_of(*, measured: bool, **fields: Any) -> SupervisedConfig:
    """Make a configuration; without an evaluation none is due on the way."""
    if not measured:
        return attrs.evolve(BASE, **{**fields, "eval_every": 0})
    return attrs.evolve(BASE, **fields, evaluation=HELD_OUT)


configs = st.builds(
    config_of,
    measured=st.booleans(),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 4),
    learning_rate=st.sampled_from([1e-4, 1e-3, 1e-2]),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_steps=st.integers(0, 9),
    seed=st.integers(0, 3),
    save_every=st.integers(0, 4),
    eval_every=st.integers(0, 4),
    num_rows=st.none() | st.integers(1, 9),
    register_as=st.none() | st.just("talker"),
)
