"""The recipe `sl_basic`: its configuration, its plan, a run of it on nothing, and what it reports."""

import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from crucible.cookbook.launch import report
from crucible.cookbook.machine import this_machine
from crucible.cookbook.sl_basic import PROGRAM, main, recipe
from crucible.effects import Handlers, perform
from crucible.kitchen import RunResult, dry_run, run
from crucible.kitchen.handlers import noop, reasoning_gym
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.stages.supervised import SupervisedState
from crucible.telemetry.ports import MetricsStore
from crucible.train.ports import DatasetStore

PNG = b"\x89PNG\r\n\x1a\n"
FULL = recipe("noop", num_rows=40)
EVALUATION = attrs.evolve(FULL.default_config.evaluation, num_examples=4) if FULL.default_config.evaluation else None
SMALL = attrs.evolve(FULL.default_config, evaluation=EVALUATION)
CHOSEN = attrs.evolve(FULL, default_config=SMALL)


def on_nothing() -> Handlers[EveryPort]:
    return noop.all() | reasoning_gym.datasets() | reasoning_gym.verifier()


@pytest.fixture(scope="module")
def result() -> RunResult[SupervisedState]:
    return run(CHOSEN, on_nothing(), run_id="evening").unwrap()


def test_the_configuration_has_no_problems_and_holds_out_what_it_measures_on() -> None:
    chosen = CHOSEN
    assert chosen.validate_config(SMALL) == ()
    assert SMALL.evaluation is not None
    train, held_out = (
        on_nothing()
        .run(perform(DatasetStore.load_dataset, dataset).bind(lambda it: perform(DatasetStore.read_rows, it)))
        .unwrap()
        for dataset in (SMALL.dataset, SMALL.evaluation.dataset)
    )
    assert len(train) == 40
    assert held_out
    assert not {row["question"] for row in train} & {row["question"] for row in held_out}


def test_the_seed_is_of_data_adapter_and_order() -> None:
    other = recipe("noop", seed=3).default_config
    assert other.dataset.options["seed"] == other.session.lora.seed == other.seed == 3


def test_the_wiring_handles_every_port_of_the_recipe_and_writes_nothing_by_itself(tmp_path: Path) -> None:
    plan = dry_run(CHOSEN, this_machine(tmp_path / "runs")).unwrap()
    assert plan.ports == ("DatasetStore", "Evaluator", "ModelRegistry", "SamplingClient", "TrainingClient")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_the_plan_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--model", "some/model", "--rows", "8", "--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("workflow supervised\n  load_dataset  [DatasetStore]")
    assert "model='some/model'" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_loads_no_model_and_no_library_that_loads_one(tmp_path: Path) -> None:
    program = (
        "import sys; from crucible.cookbook.sl_basic import main\n"
        f"assert main(['--dry-run', '--runs', {str(tmp_path)!r}]) == 0\n"
        "print(sorted({'torch', 'transformers', 'peft', 'reasoning_gym', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_on_nothing_the_recipe_learns_and_measures_itself_before_and_after(
    result: RunResult[SupervisedState],
) -> None:
    losses = [point.value for point in result.metrics if point.name == "loss"]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert [point.step for point in result.metrics if point.name == "eval/accuracy"] == [0, 3]
    assert [artifact.kind for artifact in result.artifacts] == ["sampler_weights"]
    assert result.telemetry_problems == ()


def test_the_same_recipe_learns_the_same(result: RunResult[SupervisedState]) -> None:
    again = run(CHOSEN, on_nothing(), run_id="evening").unwrap()
    values = [(point.name, point.step, point.value) for point in result.metrics]
    assert [(point.name, point.step, point.value) for point in again.metrics] == values
    assert again.context == result.context


def test_metrics_are_in_the_store() -> None:
    handlers = on_nothing()
    result = run(CHOSEN, handlers, run_id="evening").unwrap()
    assert handlers.run(perform(MetricsStore.read, "evening")).unwrap() == result.metrics


def test_the_report_says_what_was_achieved_and_draws_how_it_went(
    result: RunResult[SupervisedState], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = attrs.evolve(result, telemetry_problems=("the disk was full",))
    report(told, tmp_path / "new" / "folder", PROGRAM.shown)
    picture = (tmp_path / "new" / "folder" / "plot.png").read_bytes()
    assert picture.startswith(PNG)
    assert picture.endswith(b"IEND\xaeB`\x82")
    assert len(picture) > 10_000
    printed = capsys.readouterr()
    assert "accuracy on held-out problems: 0 before, 0 after" in printed.out
    assert f"sampler_weights: {result.artifacts[0].path}" in printed.out
    assert str(tmp_path / "new" / "folder") in printed.out
    assert printed.err == "telemetry: the disk was full\n"


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_the_program_with_its_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing.gguf")
    assert main(["--model", missing, "--rows", "8", "--runs", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().err
    assert "failed in supervised/init_session" in said
    assert "missing.gguf" in said
