"""`max_length` and `truncate` hold for whatever is trained on or asked: prompts, episodes, held-out rows."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from crucible.effects import Eff
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows.distillation import distillation, distillation_forward_kl
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.kitchen.workflows.supervised import supervised
from crucible.telemetry.events import RunWarned
from crucible.train.errors import InvalidRequest
from crucible.train.types import DatasetConfig, Datum, ModelInput, Row, SamplingConfig, SessionConfig
from tests.kitchen.workflows.arenas import BASE as REINFORCED
from tests.kitchen.workflows.arenas import letters
from tests.kitchen.workflows.runs import Ran, on_nothing, ran

LONG: Row = {"prompt": "x" * 90, "completion": "!"}
ROWS: tuple[Row, ...] = (*({"prompt": f"{number}?", "completion": "!"} for number in range(3)), LONG)
TAUGHT = DistillationConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="rows"),
    teachers=(SamplingConfig(model="other"),),
    batch_size=2,
    max_tokens=4,
)
LIMIT = 80
RUNS: dict[str, tuple[Callable[[Context[Any]], Eff[Any, Any, Any]], Any]] = {
    "reinforcement": (reinforcement(letters), REINFORCED),
    "reinforcement_async": (reinforcement_async(letters), REINFORCED),
    "distillation": (distillation, TAUGHT),
    "distillation_off_policy": (distillation, attrs.evolve(TAUGHT, mode="off_policy")),
    "distillation_forward_kl": (distillation_forward_kl, TAUGHT),
}


def run(name: str, **changes: object) -> Ran[Any, Any]:
    workflow, config = RUNS[name]
    return ran(on_nothing(ROWS, ROWS), workflow(Context.start(attrs.evolve(config, **changes))))


def lengths(of: Ran[Any, Any], operation: str) -> list[int]:
    """Give how long the prompts or the data of some requests were."""
    given = [one for call in of.log.of(operation) for one in call.arguments[1]]  # type: ignore[attr-defined]  # a sequence
    return [
        len(one) if isinstance(one, ModelInput) else len(one.model_input)
        for one in given
        if isinstance(one, ModelInput | Datum)
    ]


@pytest.mark.parametrize("name", RUNS)
def test_a_prompt_that_is_too_long_is_an_error_that_names_its_row(name: str) -> None:
    error = run(name, max_length=LIMIT).outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 3
    assert "76 are allowed: max_length is 80, less max_tokens 4" in str(error)
    assert "set truncate" in str(error)


@pytest.mark.parametrize("name", RUNS)
def test_or_it_loses_its_beginning_and_what_is_trained_on_is_no_longer(name: str) -> None:
    done = run(name, max_length=LIMIT, truncate=True)
    assert done.outcome.unwrap()
    assert max(lengths(done, "SamplingClient.sample")) == LIMIT - 4
    assert max(lengths(done, "TrainingClient.forward_backward")) <= LIMIT
    cut = [one for call in done.log.of("SamplingClient.sample") for one in call.arguments[1] if len(one) == LIMIT - 4]  # type: ignore[attr-defined]  # a sequence
    asked = [one for call in run(name).log.of("SamplingClient.sample") for one in call.arguments[1] if len(one) > LIMIT]  # type: ignore[attr-defined]  # a sequence
    assert cut[0].tokens == asked[0].tokens[-len(cut[0]) :]


@pytest.mark.parametrize("name", RUNS)
def test_a_limit_that_leaves_no_room_for_a_prompt_is_refused_before_anything_is_done(name: str) -> None:
    refused = run(name, max_length=4)
    assert "max_length is 4 and max_tokens 4, so no prompt fits" in str(refused.outcome.failure())
    assert refused.log.calls == []


def test_held_out_prompts_are_no_longer_either() -> None:
    config = SupervisedConfig(
        session=SessionConfig(model="noop"),
        dataset=DatasetConfig(name="rows"),
        num_rows=3,
        max_length=LIMIT,
        evaluation=EvaluationConfig(dataset=DatasetConfig(name="rows", split="test"), max_tokens=4),
    )
    error = ran(on_nothing(ROWS, ROWS), supervised(Context.start(config))).outcome.failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 3
    done = ran(on_nothing(ROWS, ROWS), supervised(Context.start(attrs.evolve(config, truncate=True))))
    assert max(lengths(done, "SamplingClient.sample")) == LIMIT


def test_off_policy_each_prompt_is_answered_as_often_as_is_asked() -> None:
    done = run("distillation_off_policy", group_size=3)
    assert len(lengths(done, "TrainingClient.forward_backward")) == 3 * len(ROWS)
    assert [call.keywords["num_samples"] for call in done.log.of("SamplingClient.sample")] == [3]
    assert len(done.log.of("TrainingClient.optim_step")) == 2


def test_a_warm_up_that_is_longer_than_the_run_is_told_before_the_first_step() -> None:
    [warned] = run("distillation", warmup_steps=9).events(RunWarned)
    assert warned.problem.startswith("warmup_steps is 9, and the run has 2")
    assert run("distillation", warmup_steps=2).events(RunWarned) == []
