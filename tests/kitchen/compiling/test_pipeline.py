"""Pipelines by the names of their stages: the standard ones are the workflows, and what is wrong is said before anything runs."""

from typing import Never

import attrs
import pytest

from crucible.effects import Do, Eff, Json, from_result, pure, tell
from crucible.ir import Experiment, StageDef
from crucible.kitchen import Context, Outline, Stage, pure_stage, stage
from crucible.kitchen.compiling import compile_experiment, standard_catalogue
from crucible.kitchen.compiling.compile import method_of
from crucible.kitchen.environments import RowRules, row_environment
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.kitchen.workflows import (
    distillation,
    distillation_forward_kl,
    feedback_loop,
    preference,
    reinforcement,
    reinforcement_async,
    supervised,
)
from crucible.train.environments import ProblemEnv
from crucible.train.errors import TrainError
from crucible.train.renderers import Renderer
from crucible.train.types import Row
from tests.kitchen.compiling.experiments import OF_ROWS, SUPERVISED, loop, problems, rehearsal, sound
from tests.kitchen.fakes import Served


def problem(row: Row, renderer: Renderer, /) -> Eff[ProblemEnv[Evaluator], TrainError, Evaluator]:
    return from_result(row_environment(row, renderer, RowRules(dataset="rows")))


OUTLINES: dict[str, Outline] = {
    "supervised": supervised.outline,
    "preference": preference.outline,
    "distillation": distillation.outline,
    "distillation_forward_kl": distillation_forward_kl.outline,
    "feedback_loop": feedback_loop.outline,
    "reinforcement": reinforcement(problem).outline,
    "reinforcement_async": reinforcement_async(problem).outline,
}
EXPERIMENTS: list[Experiment] = [*map(rehearsal, OF_ROWS), loop()]


def written_out(experiment: Experiment) -> Experiment:
    """Name the stages of the standard pipeline."""
    standard = method_of(experiment, standard_catalogue()).standard
    return attrs.evolve(experiment, pipeline=tuple(StageDef(name=name) for name in standard))


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda it: it.training.method)
def test_no_pipeline_and_the_standard_one_are_the_workflow(experiment: Experiment) -> None:
    for each in (experiment, written_out(experiment)):
        workflow = sound(each).recipe.workflow
        assert workflow.outline == OUTLINES[workflow.name]


# Names


def test_an_unknown_stage_is_named_with_the_nearest() -> None:
    found = problems(rehearsal(SUPERVISED, "load_dataset", "init_sesion", "train"))
    assert list(found) == ["pipeline[1].name"]
    assert "'init_sesion'" in found["pipeline[1].name"]
    assert "did you mean init_session?" in found["pipeline[1].name"]


def test_a_stage_that_is_not_enabled_is_left_out() -> None:
    experiment = written_out(rehearsal())
    without = attrs.evolve(
        experiment, pipeline=tuple(attrs.evolve(it, enabled=it.name != "measure") for it in experiment.pipeline)
    )
    assert "should_measure" in sound(experiment).recipe.workflow.show()
    assert "if should_measure" not in sound(without).recipe.workflow.show()


def test_a_pipeline_in_which_nothing_is_enabled_is_a_problem() -> None:
    found = problems(rehearsal(SUPERVISED, StageDef(name="train", enabled=False)))
    assert found == {"pipeline": "no stage is enabled: enable one, or name none at all"}


# Order


def test_a_stage_before_what_it_needs_says_which_stage_makes_that() -> None:
    found = problems(rehearsal(SUPERVISED, "load_dataset", "train"))
    assert found == {
        "pipeline[1]": "train takes SupervisedState, and after load_dataset there is Loaded[SupervisedConfig]: "
        "put build_supervised_dataset before it"
    }


def test_a_stage_that_comes_too_late_says_where_it_belongs() -> None:
    stages = ("load_dataset", "init_session", "init_tokenizer", "init_session")
    assert problems(rehearsal(SUPERVISED, *stages))["pipeline[3]"].endswith("move it right after load_dataset")
    assert problems(rehearsal(SUPERVISED, "load_dataset", "load_dataset"))["pipeline[1]"].endswith(
        "move it to the beginning"
    )


def test_one_misplaced_stage_is_one_problem() -> None:
    stages = ("load_dataset", "init_tokenizer", "build_supervised_dataset", "train", "save_final_weights", "cleanup")
    assert list(problems(rehearsal(SUPERVISED, *stages))) == ["pipeline[1]"]


def test_a_stage_of_another_method_is_unknown_here() -> None:
    assert list(problems(rehearsal(SUPERVISED, "init_teacher"))) == ["pipeline[0].name"]


@pytest.mark.parametrize(
    ("left_out", "needs_it"),
    [("save_final_weights", "register_model"), ("compute_reference_logprobs", "train"), ("init_teacher", "train")],
)
def test_what_the_states_do_not_show_is_asked_for_too(left_out: str, needs_it: str) -> None:
    whole = next(each for each in map(written_out, EXPERIMENTS) if StageDef(name=left_out) in each.pipeline)
    stages = tuple(each for each in whole.pipeline if each.name != left_out)
    found = problems(attrs.evolve(whole, pipeline=stages))
    place = f"pipeline[{stages.index(StageDef(name=needs_it))}]"
    assert found[place] == f"{needs_it} needs {left_out} before it: put {left_out} before it"


def test_nothing_trains_after_the_session_was_closed() -> None:
    stages = ("load_dataset", "init_session", "init_tokenizer", "build_supervised_dataset", "cleanup", "train")
    found = problems(rehearsal(SUPERVISED, *stages))
    assert found == {
        "pipeline[5]": "train needs the training session, which cleanup has closed: put train before cleanup"
    }


def test_a_stage_that_finds_nothing_left_to_do_is_a_problem() -> None:
    begin = ("load_dataset", "init_session", "init_tokenizer", "build_supervised_dataset")
    twice = problems(rehearsal(SUPERVISED, *begin, "train", "train", "cleanup", "cleanup"))
    assert "raise training.epochs" in twice["pipeline[5]"]
    assert twice["pipeline[7]"].endswith("which cleanup has closed: leave it out")


# Options


def test_options_are_checked_by_name_and_kind() -> None:
    options: dict[str, Json] = {"num_exampls": 3, "max_tokens": "4"}
    found = problems(rehearsal(SUPERVISED, StageDef(name="evaluate", options=options)))
    assert "did you mean num_examples?" in found["pipeline[0].options.num_exampls"]
    assert found["pipeline[0].options.max_tokens"].startswith("must be a whole number or null, not the text '4'")


def test_an_option_out_of_its_range_is_a_problem() -> None:
    found = problems(rehearsal(SUPERVISED, StageDef(name="evaluate", options={"num_examples": 0})))
    assert found["pipeline[0].options"].startswith("num_examples must be at least 1, not 0")


def test_a_stage_without_options_takes_none() -> None:
    found = problems(rehearsal(SUPERVISED, StageDef(name="load_dataset", options={"rows": 3})))
    assert found["pipeline[0].options.rows"].endswith("leave it out: it has none")


def test_an_evaluation_with_other_numbers_leaves_the_configuration_as_it_was(tmp_path: str) -> None:
    begin = ("load_dataset", "init_session", "init_tokenizer", "build_supervised_dataset")
    once = StageDef(name="evaluate", options={"num_examples": 1})
    measured = attrs.evolve(SUPERVISED, register_as=None)
    compiled = sound(rehearsal(measured, *begin, once, "evaluate", "cleanup"))
    result = compiled.run(tmp_path).unwrap().result
    assert [it.value for it in result.metrics if it.name == "eval/num_examples"] == [1.0, 2.0]
    assert isinstance(result.context.state, SupervisedState)
    assert result.context.state.config == compiled.recipe.default_config


@pytest.mark.parametrize(
    ("stages", "path", "says"),
    [
        (("train", "save_final_weights", "measure"), "training.register_as", "name register_model in the pipeline"),
        (("train", "save_final_weights", "register_model"), "training.evaluation", "name measure or evaluate in"),
        (("save_final_weights", "measure", "register_model"), "pipeline", "name train before save_final_weights"),
    ],
)
def test_what_no_stage_of_the_pipeline_does_is_a_problem(stages: tuple[str, ...], path: str, says: str) -> None:
    begin = ("load_dataset", "init_session", "init_tokenizer", "build_supervised_dataset")
    found = problems(rehearsal(SUPERVISED, *begin, *stages, "cleanup"))
    assert list(found) == [path]
    assert says in found[path]


# Stages of one's own


@stage
def serve(context: Context[SupervisedState]) -> Do[Never, Never, Context[SupervisedState]]:
    """Tell of a dish."""
    yield from tell(Served(step=context.state.step, dish="toast", weight=1.0))
    return context


def season(*, salt: float, pepper: bool = False) -> Stage[Context[SupervisedConfig], Context[int], Never, Never]:
    """Make a stage of options."""
    return pure_stage(lambda context: context.to(int(salt) + pepper))


def test_a_stage_of_ones_own_is_placed_by_its_annotations(tmp_path: str) -> None:
    catalogue = standard_catalogue().adding("serve", serve)
    begin = ("load_dataset", "init_session", "init_tokenizer", "build_supervised_dataset")
    whole = compile_experiment(rehearsal(SUPERVISED, *begin, "serve", "cleanup"), catalogue=catalogue).unwrap()
    told: list[object] = []
    whole.run(tmp_path, on_event=told.append).unwrap()
    assert [it.dish for it in told if isinstance(it, Served)] == ["toast"]
    early = compile_experiment(rehearsal(SUPERVISED, "load_dataset", "serve"), catalogue=catalogue).failure()
    assert [it.path for it in early.problems] == ["pipeline[1]"]
    assert "serve takes SupervisedState" in early.problems[0].message


def test_a_stage_that_is_made_says_which_options_it_needs(tmp_path: str) -> None:
    catalogue = standard_catalogue().adding_made("season", season)
    lacking = compile_experiment(rehearsal(SUPERVISED, "season"), catalogue=catalogue).failure()
    assert str(lacking.problems[0]) == "pipeline[0].options.salt: season needs it (give a number)"
    step = StageDef(name="season", options={"salt": 2, "pepper": True})
    whole = compile_experiment(rehearsal(SUPERVISED, step), catalogue=catalogue).unwrap()
    assert whole.run(tmp_path).unwrap().result.context.state == 3


def test_a_catalogue_is_a_value() -> None:
    catalogue = standard_catalogue()
    assert sorted(catalogue.adding("serve", serve).own) == ["serve"]
    assert dict(catalogue.own) == {}


def test_a_composition_needs_its_states_said() -> None:
    both = serve >> serve
    with pytest.raises(ValueError, match=r"give states="):
        standard_catalogue().adding("both", both)
    added = standard_catalogue().adding("both", both, states=(SupervisedState, SupervisedState))
    assert added.own["both"].shape.takes is SupervisedState


def test_what_makes_a_stage_has_only_named_options_and_says_what_it_makes() -> None:
    def by_place(salt: int) -> Stage[Context[int], Context[int], Never, Never]:
        raise NotImplementedError

    for make in (by_place, lambda: serve):
        with pytest.raises(ValueError, match="keyword-only"):
            standard_catalogue().adding_made("bad", make)


def test_without_a_training_a_pipeline_has_stages_of_ones_own_alone(tmp_path: str) -> None:
    @stage
    def count(context: Context[Experiment]) -> Do[Never, Never, Context[int]]:
        return context.to(len((yield from pure(context.state.pipeline))))

    bare = attrs.evolve(rehearsal(None, "count"), experiment_type="evaluation")
    assert "there is no stage 'count'" in problems(bare)["pipeline[0].name"]
    assert "give a training" in problems(bare)["pipeline[0].name"]
    whole = compile_experiment(bare, catalogue=standard_catalogue().adding("count", count)).unwrap()
    assert whole.run(tmp_path).unwrap().result.context.state == 1
