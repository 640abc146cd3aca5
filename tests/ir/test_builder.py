"""A builder says all that an experiment can say, changes nothing that was, and checks at its end."""

import ast
import inspect
import subprocess
import sys

import attrs

from crucible.effects import Success
from crucible.ir import Experiment, ExperimentBuilder, ModelRef, ReliabilitySpec, StageDef, decode, experiment
from tests.ir.examples import RELIABILITY, SUPERVISED
from tests.sources import ROOT


def everything() -> ExperimentBuilder:
    """Say in steps what the example says."""
    it = SUPERVISED
    assert it.owner
    assert it.dataset
    assert it.evaluator
    assert it.training
    assert it.deployment
    assert it.feedback
    assert it.baseline
    assert it.created_at
    builder = (
        experiment(it.id)
        .with_description(it.description)
        .with_owner(it.owner)
        .with_tags("a")
        .with_tags("no")
        .with_metadata({"ticket": 7})
        .with_metadata(it.metadata)
        .with_experiment_type(it.experiment_type)
        .with_model(it.model)
        .with_dataset(it.dataset)
        .with_backend(it.backend)
        .with_evaluator(it.evaluator)
        .with_training(it.training)
        .add_stage("load", {"rows": 5}, enabled=False)
        .add_stage("train")
        .with_deployment(it.deployment)
        .with_feedback(it.feedback)
        .add_output(it.outputs[0])
        .with_baseline(it.baseline)
        .with_seed(it.seed)
        .with_created_at(it.created_at)
    )
    for field in attrs.fields(ReliabilitySpec):
        builder = getattr(builder, f"with_{field.name}")(getattr(RELIABILITY, field.name))
    return builder


def test_what_is_said_in_steps_is_the_experiment() -> None:
    assert everything().build() == Success(SUPERVISED)


def test_there_is_a_step_for_every_field() -> None:
    source = ast.parse(inspect.getsource(ExperimentBuilder))
    said = {keyword.arg for node in ast.walk(source) if isinstance(node, ast.Call) for keyword in node.keywords}
    fields = {field.name for kind in (Experiment, ReliabilitySpec) for field in attrs.fields(kind)}
    assert fields - {"id"} <= said


def test_names_stand_for_refs() -> None:
    built = experiment("a").with_model("m").with_dataset("d").with_backend("noop").add_stage("s").add_output("o").draft
    assert (built.model, built.pipeline) == (ModelRef(id="m"), (StageDef(name="s"),))
    assert built.dataset is not None
    assert (built.dataset.name, built.backend.id, built.outputs[0].formats) == ("d", "noop", ("markdown",))


def test_no_step_changes_a_builder() -> None:
    begun = experiment("a").with_model("m")
    begun.with_tags("x").add_stage("s")
    assert (begun.draft.tags, begun.draft.pipeline) == ((), ())


def test_building_names_all_problems_as_reading_a_file_does() -> None:
    built = experiment("a b").with_backend("noop").with_experiment_type("comparison").build().failure()
    read = decode({"schema": 1, "id": "a b", "backend": {"id": "noop"}, "experiment_type": "comparison"}).failure()
    assert built == read
    assert [problem.path for problem in built.problems] == ["id", "model", "pipeline"]


def test_importing_specs_loads_no_package_that_reads_files() -> None:
    program = "import sys, crucible.ir; print(sorted({'cattrs', 'yaml', 'tomli_w'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
