"""Versions that were saved only to sample from are let go: after their sampler, whatever happens, and no others."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Handlers, trace
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.handlers.noop import EveryPort, Shelf
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import distillation, reinforcement, reinforcement_async, supervised
from crucible.train.errors import BackendFailed
from crucible.train.types import DatasetConfig, Row, SamplerWeights, SamplingConfig, SamplingSession, SessionConfig
from tests.kitchen.fakes import call_number, fails_with, meddling, raises
from tests.kitchen.workflows.arenas import letters
from tests.kitchen.workflows.runs import on_nothing
from tests.kitchen.workflows.small import Log

Run: TypeAlias = Eff[Context[Any], object, EveryPort]

ROWS: tuple[Row, ...] = tuple({"prompt": f"{i}?", "completion": f"{i}!"} for i in range(4))
SHARED: Mapping[str, Any] = {
    "session": SessionConfig(model="noop"),
    "dataset": DatasetConfig(name="rows"),
    "evaluation": EvaluationConfig(dataset=DatasetConfig(name="rows", split="test"), num_examples=2, max_tokens=2),
    "batch_size": 2,
    "epochs": 2,
    "save_every": 2,
    "eval_every": 2,
    "learning_rate": 1e-3,
}
SAMPLED: Mapping[str, Any] = {**SHARED, "group_size": 2, "max_tokens": 2}
DELETE = "TrainingClient.delete_sampler_weights"

RUNS: Mapping[str, Callable[[], Run]] = {
    "supervised": lambda: supervised(Context.start(SupervisedConfig(**SHARED))),
    "distillation": lambda: distillation(
        Context.start(DistillationConfig(**SAMPLED, teachers=(SamplingConfig(model="other"),)))
    ),
    "reinforcement": lambda: reinforcement(letters)(Context.start(ReinforcementConfig(**SAMPLED))),
    "reinforcement_async": lambda: reinforcement_async(letters)(
        Context.start(ReinforcementConfig(**SAMPLED, max_staleness=2))
    ),
}


def handlers_of(shelf: Shelf) -> Handlers[EveryPort]:
    return on_nothing(ROWS, ROWS, shelf=shelf)


def weights_on(shelf: Shelf, log: Log) -> list[str]:
    """Give the paths of the weights that were saved and can still be sampled from."""
    saved = [each.path for each in saved_in(log)]
    return [path for path in saved if shelf.get(path, kind="weights").value_or(None) is not None]


def saved_in(log: Log) -> list[SamplerWeights]:
    answers = log.answers("TrainingClient.save_sampler_weights")
    return [each for each in answers if isinstance(each, SamplerWeights)]


@pytest.mark.parametrize("name", RUNS)
def test_at_the_end_the_final_weights_are_left_alone_and_checkpoints_are_whole(name: str) -> None:
    shelf, log = Shelf(), Log()
    state = trace(handlers_of(shelf), into=log.calls.append).run(RUNS[name]()).unwrap().state
    assert weights_on(shelf, log) == [state.final_weights.path]
    assert len(saved_in(log)) >= 4
    assert shelf.get(state.checkpoint.path, kind="checkpoint").unwrap().step == state.checkpoint.step


@pytest.mark.parametrize("name", RUNS)
def test_a_version_is_deleted_once_and_after_its_only_sampler_was_closed(name: str) -> None:
    log = Log()
    trace(handlers_of(Shelf()), into=log.calls.append).run(RUNS[name]()).unwrap()
    deleted = [
        weights.path for call in log.of(DELETE) for weights in call.arguments if isinstance(weights, SamplerWeights)
    ]
    assert sorted(deleted) == sorted(weights.path for weights in saved_in(log) if "final" not in weights.path)
    for path in deleted:
        ends = [
            traced.call.name
            for traced in log.calls
            if any(
                isinstance(it, SamplingSession | SamplerWeights) and path_of(it) == path for it in traced.call.arguments
            )
        ]
        assert ends[-2:] == ["SamplingClient.close_session", DELETE]
        assert ends.count("SamplingClient.close_session") == 1


def path_of(it: SamplingSession | SamplerWeights) -> str | None:
    return it.path if isinstance(it, SamplerWeights) else it.weights_path


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(RUNS)),
    st.sampled_from(
        [
            "SamplingClient.start_session",
            "SamplingClient.sample",
            "SamplingClient.close_session",
            "TrainingClient.forward_backward",
            "TrainingClient.await_",
            "Evaluator.evaluate",
        ]
    ),
    st.integers(1, 4),
    st.booleans(),
)
def test_whatever_fails_no_version_is_left_but_the_final_weights(
    name: str,
    failing: str,
    number: int,
    raised: bool,
) -> None:
    shelf, log = Shelf(), Log()
    answer = raises(OSError("gas")) if raised else fails_with(BackendFailed(message="ill"))
    handlers = trace(meddling(handlers_of(shelf), call_number(failing, number), answer), into=log.calls.append)
    with suppress(OSError):
        handlers.run(RUNS[name]())
    assert all("final_weights" in path for path in weights_on(shelf, log))


@pytest.mark.parametrize("name", RUNS)
def test_a_deletion_that_fails_hides_nothing_and_stops_nothing(name: str) -> None:
    shelf, calm = Shelf(), Shelf()
    broken = meddling(handlers_of(shelf), call_number(DELETE, 2), fails_with(BackendFailed(message="ill")))
    log = Log()
    state = trace(broken, into=log.calls.append).run(RUNS[name]()).unwrap().state
    assert len(weights_on(shelf, log)) == 2
    assert state == handlers_of(calm).run(RUNS[name]()).unwrap().state
