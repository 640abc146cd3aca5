"""Runs that sample from what they train say how far sampler and trainer are apart, and warn once where it is too far."""

import html
import json
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import anyio
import attrs
import pytest
from rich.console import Console

from crucible.effects import Call, Handlers, Proceed, Result
from crucible.ir import AlgorithmSpec, BackendRef, DatasetRef, ModelRef, ReinforcementSpec
from crucible.kitchen import RunResult, run
from crucible.kitchen.compiling.erased import AnyStage, every_handler, recipe_of
from crucible.kitchen.handlers import torch
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.progress import RunProgress
from crucible.kitchen.workflows import distillation, reinforcement, reinforcement_async
from crucible.telemetry.events import DistillationStep, ReinforcementStep, SamplerDiverged
from crucible.telemetry.loading import load_run
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.report import render_report
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore
from crucible.telemetry.watch._watched import Watched
from crucible.train.algorithms.policy_metrics import MAX_GAP
from crucible.train.types import LoraConfig, SamplingConfig, SessionConfig
from tests.kitchen.compiling.experiments import rehearsal, sound
from tests.kitchen.handlers.torch.tiny import save_tiny
from tests.kitchen.workflows.arenas import BASE, RIDDLES, letters
from tests.kitchen.workflows.runs import on_nothing
from tests.kitchen.workflows.test_distillation import BASE as TAUGHT

GAP, KL = "logprob_gap_sample_train", "kl_sample_train_v3"
ALWAYS = {GAP, "kl_sample_train_v1", "kl_sample_train_v2", KL, "entropy"}
REINFORCED = attrs.evolve(BASE, epochs=2, algorithm=attrs.evolve(BASE.algorithm, drop_constant_groups=False))
WORKFLOWS: dict[str, tuple[AnyStage, Any]] = {
    "reinforcement": (reinforcement(letters), REINFORCED),
    "reinforcement_async": (reinforcement_async(letters), REINFORCED),
    "distillation": (distillation, attrs.evolve(TAUGHT, epochs=2)),
}


def heard(name: str, handlers: Handlers[EveryPort], **changes: Any) -> tuple[list[object], RunResult[object]]:
    """Run a workflow, and give all that it told."""
    workflow, config = WORKFLOWS[name]
    told: list[object] = []
    recipe = recipe_of(name, "", workflow, attrs.evolve(config, **changes))
    return told, run(recipe, every_handler(handlers), on_event=told.append).unwrap()


def rounds_of(told: list[object]) -> list[dict[str, float]]:
    """Give what each round measured."""
    return [dict(event.metrics) for event in told if isinstance(event, ReinforcementStep | DistillationStep)]


def warnings_of(told: list[object]) -> list[SamplerDiverged]:
    """Give the warnings of a run."""
    return [event for event in told if isinstance(event, SamplerDiverged)]


def falsifying(handlers: Handlers[EveryPort], off_by: float, *, after: int = 0) -> Handlers[EveryPort]:
    """Let the sampler say other log-probabilities than it plays, from some request on."""
    asked = 0

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        nonlocal asked
        answer = await proceed(call)
        if call.name != "SamplingClient.sample":
            return answer
        asked += 1
        return answer.map(_moved(off_by)) if asked > after else answer

    return handlers.wrap(around)


def stores(root: Path) -> Handlers[MetricsStore | EventStore]:
    """Keep what a run tells below a folder."""
    metrics, events = JsonlMetricsStore(root), JsonlEventStore(root)
    return MetricsStore.handled_by(metrics) | EventStore.handled_by(events)


def _moved(off_by: float) -> Any:
    return lambda groups: tuple(
        tuple(attrs.evolve(one, logprobs=tuple(each - off_by for each in one.logprobs)) for one in group)
        for group in groups
    )


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_round_says_how_far_sampler_and_trainer_are_apart(name: str) -> None:
    told, _ = heard(name, on_nothing(RIDDLES))
    rounds = rounds_of(told)
    assert len(rounds) > 2
    assert all(metrics.keys() >= ALWAYS for metrics in rounds)
    fresh = [metrics for metrics in rounds if not metrics.get("staleness")]
    assert all(metrics[GAP] == pytest.approx(0.0, abs=1e-6) for metrics in fresh)
    assert warnings_of(told) == []


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize(("off_by", "cause"), [(0.1, "bfloat16"), (2.0, "other weights")])
def test_a_sampler_that_plays_something_else_is_told_once(name: str, off_by: float, cause: str) -> None:
    told, _ = heard(name, falsifying(on_nothing(RIDDLES), off_by))
    [warning] = warnings_of(told)
    assert warning.logprob_gap_sample_train == pytest.approx(off_by, abs=1e-6)
    assert warning.step == 0
    assert f"differ by {off_by:g} nats a token" in warning.problem
    assert cause in warning.problem
    assert rounds_of(told)[0][GAP] == pytest.approx(off_by, abs=1e-6)


def test_it_is_told_when_it_begins_in_a_later_round() -> None:
    told, _ = heard("reinforcement", falsifying(on_nothing(RIDDLES), 0.1, after=2))
    assert [warning.step for warning in warnings_of(told)] == [2]


def test_what_the_policy_learned_since_is_no_divergence_of_the_sampler() -> None:
    told, _ = heard("reinforcement_async", on_nothing(RIDDLES), learning_rate=1.0)
    stale = [metrics for metrics in rounds_of(told) if metrics["staleness"]]
    assert max(metrics[GAP] for metrics in stale) > MAX_GAP
    assert warnings_of(told) == []


def test_reports_and_the_terminal_show_it(tmp_path: Path) -> None:
    told, done = heard("reinforcement", falsifying(on_nothing(RIDDLES), 0.1) | stores(tmp_path))
    [warning] = warnings_of(told)
    loaded = anyio.run(partial(load_run, done.run_id, runs=tmp_path)).unwrap()
    assert warning.problem in html.unescape(render_report([loaded]))
    watched = Watched()
    watched.take_events(loaded.events)
    watched.take_points(loaded.points)
    assert list(watched.failures) == [f"sampling: {warning.problem}"]
    assert f"rl/{GAP}" in [curve.name for curve in watched.curves[:8]]
    screen = StringIO()
    with RunProgress(Console(file=screen, width=200, force_terminal=True, color_system=None)) as progress:
        for event in told:
            progress.show(event)
    assert warning.problem in screen.getvalue()
    assert "sampler off by 0.1" in screen.getvalue()


# On a real model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save the tiny model."""
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize(("dtype", "least", "most"), [("float32", 0.0, 1e-4), ("bfloat16", 1e-4, MAX_GAP)])
def test_torch_samples_what_it_trains(
    name: str, dtype: Literal["float32", "bfloat16"], least: float, most: float, model: str, tmp_path: Path
) -> None:
    session = SessionConfig(model=model, lora=LoraConfig(rank=8, seed=1))
    changes = {"session": session, "learning_rate": 1e-3, "max_tokens": 12, "schedule": "constant"}
    if name == "distillation":
        changes["teachers"] = (SamplingConfig(model=model),)
    handlers = on_nothing(RIDDLES) | torch.local(tmp_path, dtype=dtype, num_threads=1)
    told, _ = heard(name, handlers, **changes)
    fresh = [metrics[GAP] for metrics in rounds_of(told) if not metrics.get("staleness")]
    assert fresh
    assert least <= max(fresh) < most
    assert warnings_of(told) == []


def test_a_spec_in_bfloat16_samples_what_it_trains(model: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in RIDDLES))
    experiment = attrs.evolve(
        rehearsal(ReinforcementSpec(batch_size=3, group_size=2, max_tokens=12, algorithm=AlgorithmSpec(name="grpo"))),
        backend=BackendRef(id="torch", options={"dtype": "bfloat16", "num_threads": 1}),
        model=ModelRef(id=model),
        dataset=DatasetRef(name=str(rows), provider="file"),
    )
    told: list[object] = []
    # Random answers are all wrong, so that nothing is learned: the run fails, once it has told its rounds.
    failed = sound(experiment).run(tmp_path, on_event=told.append).failure()
    assert "the rewards of every group are equal" in str(failed)
    gaps = [event.metrics[GAP] for event in told if isinstance(event, ReinforcementStep)]
    assert len(gaps) == 2
    assert all(1e-4 < gap < MAX_GAP for gap in gaps)
