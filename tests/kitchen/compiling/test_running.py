"""Running what a spec compiles to: the same as by hand, kept with its spec, compared with a baseline, within its limits."""

import json
from pathlib import Path
from typing import TypeAlias

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.cookbook.models import smollm2
from crucible.effects import Failure, Result, TracedCall, trace
from crucible.ir import (
    BackendRef,
    BudgetSpec,
    CircuitBreakerSpec,
    DatasetRef,
    DeadlineSpec,
    EvaluatorRef,
    Experiment,
    FeedbackSpec,
    HedgingSpec,
    ModelRef,
    OutputSpec,
    RateLimitSpec,
    ReliabilitySpec,
    RetrySpec,
    StageDef,
    StatsSpec,
    SupervisedSpec,
    decode,
    fingerprint,
)
from crucible.kitchen import RunResult, run
from crucible.kitchen.compiling import compile_experiment, standard_catalogue
from crucible.kitchen.compiling.compile import method_of
from crucible.kitchen.compiling.configs import config_of
from crucible.kitchen.compiling.erased import AnyStage, every_handler, recipe_of
from crucible.kitchen.handlers import noop, torch
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.feedback import FeedbackState
from crucible.kitchen.workflows import (
    distillation,
    distillation_forward_kl,
    preference,
    reinforcement,
    reinforcement_async,
    supervised,
)
from crucible.telemetry.loading import load_run
from crucible.telemetry.ports import MetricsStore
from crucible.testing import tinker_server
from tests.kitchen.compiling.experiments import (
    ROWS,
    SUPERVISED,
    TrainingOfRows,
    by_hand,
    loop,
    problems,
    rehearsal,
    sound,
    trainings,
)
from tests.kitchen.compiling.test_pipeline import problem

Measured: TypeAlias = list[tuple[str, int | None, float]]

WORKFLOWS: dict[str, AnyStage] = {
    "supervised": supervised,
    "preference": preference,
    "distillation": distillation,
    "distillation_forward_kl": distillation_forward_kl,
    "reinforcement": reinforcement(problem),
    "reinforcement_async": reinforcement_async(problem),
}
quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def measured(result: RunResult[object]) -> Measured:
    return [(point.name, point.step, point.value) for point in result.metrics]


def run_by_hand(experiment: Experiment, run_id: str) -> Result[RunResult[object], object]:
    """Run the workflow's own value with the configuration, on handlers that no spec made."""
    name = sound(experiment).recipe.workflow.name
    recipe = recipe_of(experiment.id, "", WORKFLOWS[name], config_of(experiment).unwrap())
    return run(recipe, every_handler(by_hand(experiment.seed)), run_id=run_id)


@quick
@given(training=trainings, written_out=st.booleans(), number=st.integers(0, 2**60))
def test_running_a_spec_is_running_its_workflow_by_hand(
    training: TrainingOfRows, written_out: bool, number: int, tmp_path: Path
) -> None:
    experiment = rehearsal(training)
    if written_out:
        names = method_of(experiment, standard_catalogue()).standard
        experiment = attrs.evolve(experiment, pipeline=tuple(StageDef(name=name) for name in names))
    run_id = f"run-{number}"
    finished = sound(experiment).run(tmp_path / f"{len(list(tmp_path.iterdir()))}", run_id=run_id)
    by_itself = run_by_hand(experiment, run_id)
    if isinstance(finished, Failure):  # where all rewards are the same, nothing is learned
        assert finished.failure() == by_itself.failure()
        return
    ours, theirs = finished.unwrap().result, by_itself.unwrap()
    assert ours.context == theirs.context
    assert measured(ours) == measured(theirs)


def test_a_feedback_loop_trains_on_what_users_edited(tmp_path: Path) -> None:
    state = sound(loop()).run(tmp_path).unwrap().result.context.state
    assert isinstance(state, FeedbackState)
    assert state.exported is not None
    assert state.trained is not None
    assert state.trained.num_examples == state.exported.num_rows == len(state.curated) > 0


# Nothing before it is time


def test_compiling_and_planning_perform_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[TracedCall] = []
    experiment = attrs.evolve(rehearsal(), outputs=(OutputSpec(name="out"),))
    compiled = compile_experiment(experiment, handlers=trace(noop.all(), into=calls.append)).unwrap()
    assert "given in code" in str(compiled.plan())
    assert calls == []
    assert list(tmp_path.iterdir()) == []


def broken(experiment: Experiment) -> dict[str, Experiment]:
    """Break one thing each time; the key is where that is reported."""
    names = method_of(experiment, standard_catalogue()).standard
    stages = [StageDef(name=name) for name in names]
    misspelt = (*stages[:2], StageDef(name="train_"), *stages[2:])
    session = StageDef(name="init_session")
    swapped = (session, *(each for each in stages if each != session))
    assert experiment.dataset is not None
    return {
        "pipeline[2].name": attrs.evolve(experiment, pipeline=misspelt),
        "pipeline[0]": attrs.evolve(experiment, pipeline=swapped),
        "backend.options.sed": attrs.evolve(experiment, backend=BackendRef(id="noop", options={"sed": 1})),
        "model.revision": attrs.evolve(experiment, model=attrs.evolve(experiment.model, revision="main")),
        "dataset.name": attrs.evolve(
            experiment, dataset=attrs.evolve(experiment.dataset, provider="file", name="no/such/file.jsonl")
        ),
        "outputs[0].options.wht": attrs.evolve(experiment, outputs=(OutputSpec(name="o", options={"wht": "points"}),)),
        "evaluator.options.scor": attrs.evolve(
            experiment, evaluator=EvaluatorRef(provider="scorers", options={"scor": "f1"})
        ),
        "feedback": attrs.evolve(experiment, feedback=FeedbackSpec(storage="noop")),
        "training.epochs": attrs.evolve(experiment, training=attrs.evolve(experiment.training, epochs=0)),  # type: ignore[misc]  # on rows
    }


@quick
@given(training=trainings, place=st.sampled_from(sorted(broken(rehearsal()))))
def test_any_single_broken_thing_is_reported_at_its_place_and_nothing_is_performed(
    training: TrainingOfRows, place: str
) -> None:
    calls: list[TracedCall] = []
    experiment = broken(rehearsal(training))[place]
    invalid = compile_experiment(experiment, handlers=trace(noop.all(), into=calls.append)).failure()
    assert place in {problem.path for problem in invalid.problems}
    assert calls == []


def test_a_baseline_that_is_not_there_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    calls: list[TracedCall] = []
    experiment = attrs.evolve(rehearsal(), baseline="earlier")
    compiled = compile_experiment(experiment, handlers=trace(noop.all(), into=calls.append)).unwrap()
    failed = compiled.run(tmp_path).failure()
    assert failed.path == "baseline"
    assert "'earlier'" in str(failed.error)
    assert calls == []
    assert list(tmp_path.iterdir()) == []


# What is kept


def test_a_run_keeps_its_spec_and_the_spec_can_be_run_again(tmp_path: Path) -> None:
    experiment = attrs.evolve(rehearsal(), tags=("a", "b"))
    done = sound(experiment).run(tmp_path).unwrap()
    kept = anyio.run(load_run, str(done.folder)).unwrap().info.metadata
    assert kept["experiment"] == "rehearsal"
    assert kept["tags"] == ["a", "b"]
    assert kept["spec_version"] == 1
    assert kept["spec_fingerprint"] == fingerprint(experiment)
    assert decode(kept["spec"]).unwrap() == experiment


def test_a_key_in_the_environment_is_in_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-secret")
    options = {"base_url": "http://127.0.0.1:9"}
    rows = attrs.evolve(ROWS, name="chain_sum", provider="reasoning_gym")
    training = attrs.evolve(SUPERVISED, evaluation=None)
    experiment = attrs.evolve(rehearsal(training), backend=BackendRef(id="tinker", options=options), dataset=rows)
    compiled = sound(experiment)
    shown = f"{compiled!r}{compiled.plan()}{compiled.about()}"
    assert "a Tinker server at http://127.0.0.1:9; what it can do is probed at the start" in shown
    assert "tml-secret" not in shown


def test_a_plan_says_what_a_run_has_around_its_workflow() -> None:
    assert "around it" not in str(sound(rehearsal()).plan())
    experiment = attrs.evolve(
        rehearsal(),
        baseline="earlier",
        outputs=(OutputSpec(name="out", formats=("csv", "markdown")),),
        reliability=ReliabilitySpec(retry=RetrySpec(attempts=5)),
    )
    shown = str(sound(experiment).plan())
    for part in ("around it\n  retry:\n    attempts: 5\n", "  baseline: 'earlier'\n", "['out.csv', 'out.md']"):
        assert part in shown
    assert "adam:\n    beta1" in shown
    assert "train_on: 'last_assistant_message'" in shown


def test_a_plan_says_who_handles_each_port_and_what_it_takes() -> None:
    shown = str(sound(rehearsal()).plan())
    for part in (
        "workflow supervised",
        "  TrainingClient: noop",
        "  ModelRegistry: SQLite",
        "  learning_rate: 0.0002",
        "  optimizer steps: at most 2",
    ):
        assert part in shown


# Results


def test_outputs_are_written_in_every_format_they_name(tmp_path: Path) -> None:
    files = OutputSpec(name="out", formats=("csv", "html", "json", "markdown", "parquet"))
    told = OutputSpec(name="told", formats=("json",), options={"what": "events"}, path=str(tmp_path / "elsewhere"))
    printed = OutputSpec(name="shown", sink="stdout")
    done = sound(attrs.evolve(rehearsal(), outputs=(files, told, printed))).run(tmp_path / "runs").unwrap()
    paths = {it.name: it.path for it in done.outputs}
    assert sorted(paths) == ["out.csv", "out.html", "out.json", "out.md", "out.parquet", "shown.md", "told.json"]
    points = json.loads((done.folder / "out.json").read_text())
    assert [it["value"] for it in points] == [it.value for it in done.result.metrics]
    events = json.loads((tmp_path / "elsewhere" / "told.json").read_text())
    assert "crucible_kitchen.run.opened" in {it["event"] for it in events}
    assert "| loss | 2 |" in (done.folder / "out.md").read_text()
    assert (done.folder / "out.html").read_text().startswith("<!DOCTYPE html>")
    assert (done.folder / "out.csv").read_text().startswith("run_id,")
    assert "| loss | 2 |" in str(done)
    assert str(done.folder / "out.parquet") in str(done)


def test_a_run_without_printed_outputs_says_in_short_what_it_reached(tmp_path: Path) -> None:
    done = sound(rehearsal()).run(tmp_path).unwrap()
    losses = [it.value for it in done.result.metrics if it.name == "loss"]
    assert f"loss: {losses[0]:.4g} -> {losses[-1]:.4g}" in str(done).splitlines()
    assert "eval/num_examples: 2 -> 2" in str(done)


def test_a_table_of_no_metrics_says_so_and_a_page_has_no_choice_of_rows(tmp_path: Path) -> None:
    bare = attrs.evolve(rehearsal(SupervisedSpec(), "load_dataset"), outputs=(OutputSpec(name="shown", sink="stdout"),))
    assert str(sound(bare).run(tmp_path).unwrap()).startswith("No metric was told.")
    page = OutputSpec(name="page", formats=("html",), options={"what": "events"})
    assert "whole run" in problems(attrs.evolve(bare, outputs=(page,)))["outputs[0].options.what"]


def test_an_output_that_cannot_be_written_costs_the_output_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad = OutputSpec(name="bad", path=str(tmp_path / "file"))
    done = sound(attrs.evolve(rehearsal(), outputs=(bad, OutputSpec(name="good")))).run(tmp_path / "runs").unwrap()
    assert [it.name for it in done.outputs] == ["good.md"]
    assert "the output bad was not written" in str(done)


def test_a_run_whose_telemetry_is_kept_elsewhere_says_that_its_outputs_were_not_written(tmp_path: Path) -> None:
    elsewhere = noop.metrics() | noop.events()
    experiment = attrs.evolve(rehearsal(), outputs=(OutputSpec(name="out"),))
    compiled = compile_experiment(experiment).unwrap()
    silent = tuple(supply for supply in compiled.supplies if MetricsStore not in supply.ports)
    done = attrs.evolve(compiled, supplies=silent, handlers=elsewhere).run(tmp_path).unwrap()
    assert done.outputs == ()
    assert "the output out was not written: " in str(done)


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = sound(rehearsal()).run(tmp_path / "file").failure()
    assert failed.path == "runs"
    assert "give another folder" in str(failed.error)


def test_a_run_is_compared_with_the_newest_of_its_baseline(tmp_path: Path) -> None:
    for run_id in ("first", "second"):
        sound(rehearsal()).run(tmp_path, run_id=run_id).unwrap()
    stats = ReliabilitySpec(stats=StatsSpec(metrics=("loss", "nothing"), test="mann_whitney"))
    later = attrs.evolve(rehearsal(), id="later", baseline="rehearsal", reliability=stats)
    comparison = sound(later).run(tmp_path).unwrap().comparison
    assert comparison is not None
    assert comparison.baseline == "second"
    assert comparison.metrics["loss"].test == "mann_whitney"
    assert comparison.metrics["loss"].difference == 0.0
    both = "epoch/mean_loss, eval/accuracy, eval/num_examples, grad_norm, learning_rate, loss, num_tokens"
    assert comparison.problems == (f"nothing: neither run has any (both have {both})",)


# Limits


def test_a_budget_stops_the_run_and_says_where(tmp_path: Path) -> None:
    poor = attrs.evolve(rehearsal(), reliability=ReliabilitySpec(budget=BudgetSpec(limit=5)))
    failed = sound(poor).run(tmp_path).failure()
    assert failed.path.startswith("supervised/")
    assert "could cost 1 calls, and 0 of 5 calls are left" in str(failed.error)


def test_a_call_that_no_rate_lets_through_stops_the_run_and_says_where(tmp_path: Path) -> None:
    slow = attrs.evolve(
        rehearsal(), reliability=ReliabilitySpec(rate_limit=RateLimitSpec(most=2.0, per_seconds=0.1, unit="tokens"))
    )
    failed = sound(slow).run(tmp_path).failure()
    assert failed.path.startswith("supervised/evaluate")
    assert "tokens, and the rate is 2 in 0.1 s: raise reliability.rate_limit.most" in str(failed.error)


def test_a_run_within_all_its_limits_is_the_same_run(tmp_path: Path) -> None:
    limits = ReliabilitySpec(
        retry=RetrySpec(attempts=2),
        deadline=DeadlineSpec(seconds=60),
        rate_limit=RateLimitSpec(most=1e6, per_seconds=1, unit="tokens"),
        circuit_breaker=CircuitBreakerSpec(),
        budget=BudgetSpec(limit=1e7, unit="tokens"),
        hedging=HedgingSpec(strategy="fixed", delay_seconds=60),
    )
    plain = sound(rehearsal()).run(tmp_path / "plain", run_id="run").unwrap().result
    limited = sound(attrs.evolve(rehearsal(), reliability=limits)).run(tmp_path / "limited", run_id="run").unwrap()
    assert measured(limited.result) == measured(plain)
    assert limited.result.context == plain.context


def test_what_nothing_can_act_on_is_a_problem() -> None:
    hedged = ReliabilitySpec(hedging=HedgingSpec(percentile=95))
    experiment = attrs.evolve(rehearsal(SupervisedSpec(), "load_dataset", "init_session"), reliability=hedged)
    assert list(problems(experiment)) == ["reliability.hedging"]


def test_handlers_given_in_code_stand_before_those_of_the_spec(tmp_path: Path) -> None:
    calls: list[TracedCall] = []
    compiled = compile_experiment(rehearsal(), handlers=trace(noop.evaluator(), into=calls.append)).unwrap()
    compiled.run(tmp_path).unwrap()
    assert {traced.call.port for traced in calls} == {Evaluator}


@pytest.mark.slow
def test_the_same_spec_trains_on_a_tinker_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = DatasetRef(name="chain_sum", provider="reasoning_gym", num_rows=4, options={"size": 8})
    plain = attrs.evolve(rehearsal(SupervisedSpec(batch_size=2)), dataset=rows, model=ModelRef(id=smollm2()))
    limits = ReliabilitySpec(retry=RetrySpec(), deadline=DeadlineSpec(seconds=300))
    with tinker_server.serve(torch.local(tmp_path, num_threads=1)) as server:
        monkeypatch.setenv("TINKER_API_KEY", server.api_key)
        backend = BackendRef(id="tinker", options={"base_url": server.url})
        done = sound(attrs.evolve(plain, backend=backend, reliability=limits)).run(tmp_path / "runs").unwrap()
    assert len([point for point in done.result.metrics if point.name == "loss"]) == 2
    assert server.api_key not in (done.folder / f"{done.result.run_id}.sqlite").read_bytes().decode("latin-1")
