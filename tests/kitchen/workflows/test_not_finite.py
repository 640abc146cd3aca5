"""A loss, a gradient, a reward or a score that is NaN or infinite is an error where it comes in, in every workflow."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import pytest

from crucible.effects import Call, Eff, Failure, Handlers, Proceed, Result, pure
from crucible.kitchen import Context, Recipe, RunFailed, run
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.handlers import tinkex
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.ports import EvaluationReport, Evaluator
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.kitchen.workflows.distillation import distillation, distillation_forward_kl
from crucible.kitchen.workflows.preference import preference
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.telemetry.events import EnvironmentPlayed, ReinforcementStep, RolloutCompleted, TrainingStep
from crucible.testing.tinker_server import serve
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.environments import ProblemEnv
from crucible.train.errors import BackendFailed, NonFiniteLoss
from crucible.train.renderers import Renderer
from crucible.train.types import (
    ByteTokenizer,
    DatasetConfig,
    ForwardBackwardOutput,
    OptimStepOutput,
    Row,
    SamplingConfig,
    SessionConfig,
)
from tests.kitchen.fakes import Answer, meddling
from tests.kitchen.workflows import arenas
from tests.kitchen.workflows.runs import on_nothing, ran

SESSION, ROWS = SessionConfig(model="noop"), DatasetConfig(name="rows")
ASKED: tuple[Row, ...] = tuple({"prompt": f"{n}?", "completion": f"{n}!"} for n in range(4))
DUELS: tuple[Row, ...] = tuple({"prompt": f"{n}?", "chosen": f"{n}!", "rejected": "no"} for n in range(4))
TEACHER = SamplingConfig(model="other")

COMMON: dict[str, Any] = {"session": SESSION, "dataset": ROWS, "learning_rate": 1e-3, "batch_size": 2}
DISTILLED = DistillationConfig(**COMMON, teachers=(TEACHER,), group_size=2, max_tokens=3)
WORKFLOWS: dict[str, tuple[Any, Any, tuple[Row, ...]]] = {
    "supervised": (supervised, SupervisedConfig(**COMMON), ASKED),
    "preference": (preference, PreferenceConfig(**COMMON), DUELS),
    "distillation": (distillation, DISTILLED, ASKED),
    "off_policy": (distillation, attrs.evolve(DISTILLED, mode="off_policy"), ASKED),
    "forward_kl": (distillation_forward_kl, DISTILLED, ASKED),
    "reinforcement": (reinforcement(arenas.letters), arenas.BASE, arenas.RIDDLES),
    "reinforcement_async": (reinforcement_async(arenas.letters), arenas.BASE, arenas.RIDDLES),
}
Change: TypeAlias = Callable[[Any], Any]


def changing(kind: type, number: int, change: Change) -> Answer:
    """Change the `number`-th answer of a kind, the first being 1, and leave all others as they are."""
    seen = 0

    async def answer(call: Call, proceed: Proceed) -> Result[object, object]:
        nonlocal seen
        result = await proceed(call)
        if isinstance(result, Failure) or not isinstance(result.unwrap(), kind):
            return result
        seen += 1
        return result.map(change) if seen == number else result

    return answer


def losing(value: float) -> Change:
    return lambda output: attrs.evolve(output, loss=value, metrics={**output.metrics, "loss:sum": value})


def blind(output: ForwardBackwardOutput) -> ForwardBackwardOutput:
    return attrs.evolve(output, logprobs=((math.nan,) * len(output.logprobs[0]), *output.logprobs[1:]))


def steep(value: float) -> Change:
    return lambda output: attrs.evolve(output, grad_norm=value)


def awaiting(handlers: Handlers[EveryPort], answer: Answer) -> Handlers[EveryPort]:
    return meddling(handlers, lambda call: call.name == "TrainingClient.await_", answer)


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize(
    ("kind", "change", "error"),
    [
        (ForwardBackwardOutput, losing(math.nan), NonFiniteLoss),
        (ForwardBackwardOutput, losing(-math.inf), NonFiniteLoss),
        (ForwardBackwardOutput, blind, NonFiniteLoss),
        (OptimStepOutput, steep(math.nan), BackendFailed),
        (OptimStepOutput, steep(math.inf), BackendFailed),
    ],
    ids=["nan", "-inf", "logprobs", "norm_nan", "norm_inf"],
)
def test_what_a_backend_answers_to_a_step_is_finite_or_an_error_that_names_the_step(
    name: str, kind: type, change: Change, error: type
) -> None:
    workflow, config, rows = WORKFLOWS[name]
    handlers = awaiting(on_nothing(rows), changing(kind, 2, change))
    done = ran(handlers, workflow(Context.start(config, run_id="evening")))
    failure = done.outcome.failure()
    assert isinstance(failure, error)
    assert "optimizer step 2" in str(failure)
    steps = [event for _, event in done.told.events if type(event).__name__.endswith("Step")]
    assert [getattr(event, "step", None) for event in steps] == [1]


@pytest.mark.parametrize("name", ["supervised", "preference"])
def test_a_norm_that_no_backend_tells_ends_no_run(name: str) -> None:
    workflow, config, rows = WORKFLOWS[name]

    async def untold(call: Call, proceed: Proceed) -> Result[object, object]:
        return (await proceed(call)).map(
            lambda output: attrs.evolve(output, grad_norm=None) if isinstance(output, OptimStepOutput) else output
        )

    done = ran(awaiting(on_nothing(rows), untold), workflow(Context.start(config, run_id="evening")))
    assert done.outcome.unwrap().state.step == 2


def test_a_server_that_answers_nan_ends_the_run_at_that_step() -> None:
    steps: list[object] = []

    async def answer(call: Call, proceed: Proceed) -> Result[object, object]:
        result = await proceed(call)
        if not steps or isinstance(result, Failure) or not isinstance(result.unwrap(), ForwardBackwardOutput):
            return result
        return result.map(losing(math.nan))

    def watching(event: object) -> None:
        if isinstance(event, TrainingStep):
            steps.append(event)

    config = SupervisedConfig(**COMMON)
    recipe: Any = Recipe(name="talk", description="", workflow=supervised, default_config=config)
    with serve(awaiting(on_nothing(ASKED), answer), models=["noop"]) as server:
        there = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())
        failed = run(recipe, on_nothing(ASKED) | tinkex.remote(there), run_id="evening", on_event=watching).failure()
    assert isinstance(failed, RunFailed)
    assert failed.path == "supervised/epochs[0]/batches[1]/await_step"
    assert isinstance(failed.error, NonFiniteLoss)
    assert len(steps) == 1


# Rewards


def odd_for(number: int, value: float) -> Callable[[Row, Renderer], Eff[ProblemEnv[Any], Any, Any]]:
    """Make environments that score the answers to one riddle with a number that is none, and letters elsewhere."""

    def environment_of(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Any], Any, Any]:
        if row["prompt"] != f"{number}?":
            return arenas.letters(row, renderer)
        return arenas.scored_by(lambda text: pure(value))(row, renderer)

    return environment_of


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [reinforcement, reinforcement_async])
@pytest.mark.parametrize("algorithm", [arenas.BASE.algorithm, grpo()], ids=["reinforce", "grpo"])
def test_a_reward_that_is_no_number_is_a_failed_episode_and_no_reward(value: float, make: Any, algorithm: Any) -> None:
    config = attrs.evolve(arenas.BASE, algorithm=algorithm)
    done = ran(arenas.handlers_of(), make(odd_for(0, value))(Context.start(config, run_id="evening")))
    assert done.outcome.unwrap().state.step > 0
    rounds = done.events(RolloutCompleted)
    assert sum(each.num_failed for each in rounds) == config.group_size
    assert sum(each.num_failed for each in done.events(EnvironmentPlayed)) == config.group_size
    told = [event.metrics for event in rounds] + [event.metrics for event in done.events(ReinforcementStep)]
    assert all(math.isfinite(value) for metrics in told for value in metrics.values())


# References


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_reference_without_a_log_probability_names_the_pair(value: float) -> None:
    def spoilt(rows: Sequence[Sequence[float | None]]) -> tuple[Sequence[float | None], ...]:
        return (*rows[:3], (None, *(value for _ in rows[3][1:])), *rows[4:])

    handlers = meddling(
        on_nothing(DUELS), lambda call: call.name == "SamplingClient.compute_logprobs", changing(object, 1, spoilt)
    )
    config = PreferenceConfig(**COMMON)
    error = ran(handlers, preference(Context.start(config, run_id="evening"))).outcome.failure()
    assert f"the reference gives the rejected answer of pair 1 the log-probability {value}" in str(error)


# Judges


@pytest.mark.parametrize("where", ["score", "metric", "count"])
def test_an_evaluation_that_is_no_number_is_an_error_of_the_evaluator(where: str) -> None:
    def spoilt(report: EvaluationReport) -> EvaluationReport:
        scores = (math.nan, *report.scores[1:]) if where == "score" else report.scores
        scores = scores[1:] if where == "count" else scores
        metrics = {"accuracy": math.nan} if where == "metric" else report.metrics
        return EvaluationReport(metrics=metrics, scores=scores)

    handlers = meddling(
        on_nothing(ASKED, ASKED),
        lambda call: call.name == "Evaluator.evaluate",
        changing(EvaluationReport, 1, spoilt),
    )
    evaluation = EvaluationConfig(dataset=attrs.evolve(ROWS, split="test"), num_examples=2, max_tokens=2)
    config = SupervisedConfig(**COMMON, evaluation=evaluation)
    error = ran(handlers, supervised(Context.start(config, run_id="evening"))).outcome.failure()
    assert isinstance(error, BackendFailed)
    said = {"score": "the score of example 0 is nan", "metric": "accuracy is nan", "count": "scored 1 of 2 answers"}
    assert said[where] in str(error)


def test_a_judge_that_says_nan_fails_its_episode() -> None:
    handlers: Handlers[Evaluator | EveryPort] = meddling(
        arenas.handlers_of(),
        lambda call: call.name == "Evaluator.evaluate",
        changing(EvaluationReport, 1, lambda report: attrs.evolve(report, scores=(math.nan,))),
    )
    done = ran(handlers, reinforcement(arenas.judged)(Context.start(arenas.BASE, run_id="evening")))
    assert sum(each.num_failed for each in done.events(RolloutCompleted)) == 1
