"""The training methods: each with its configuration, the stages that its pipelines can name, and its standard pipeline."""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

import attrs

from crucible.kitchen.compiling.catalogue import Entry, entry, entry_made
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.flow import conditional, zoom
from crucible.kitchen.ports import Evaluator
from crucible.kitchen.stage import Stage
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.distillation import (
    DistillationConfig,
    DistillationState,
    build_distillation_dataset,
    cleanup_teacher,
    evaluate_distillation,
    init_teacher,
)
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.feedback import (
    FeedbackConfig,
    FeedbackState,
    check_triggers,
    curate_data,
    export_feedback_data,
    retraining_config,
    should_retrain,
    update_baseline,
    with_trained,
)
from crucible.kitchen.stages.forward_kl import answered_by_teachers
from crucible.kitchen.stages.preference import (
    PreferenceConfig,
    PreferenceState,
    build_preference_dataset,
    compute_reference_logprobs,
    evaluate_preferences,
)
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.reinforcement import (
    EnvironmentOf,
    ReinforcementConfig,
    ReinforcementState,
    build_problems,
)
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState, build_supervised_dataset
from crucible.kitchen.states import TrainingState
from crucible.kitchen.workflows.distillation import measure as measure_distillation
from crucible.kitchen.workflows.distillation import train as distil
from crucible.kitchen.workflows.distillation import train_forward_kl
from crucible.kitchen.workflows.feedback_loop import retrain
from crucible.kitchen.workflows.preference import measure as measure_preferences
from crucible.kitchen.workflows.preference import train as prefer
from crucible.kitchen.workflows.reinforcement import measure as measure_policy
from crucible.kitchen.workflows.reinforcement import rounds_ahead, rounds_in_turn
from crucible.kitchen.workflows.supervised import measure as measure_supervised
from crucible.kitchen.workflows.supervised import supervised
from crucible.kitchen.workflows.supervised import train as imitate
from crucible.train.errors import TrainError
from crucible.train.ports import DatasetStore, SamplingClient, TrainingClient

R = TypeVar("R")
S = TypeVar("S", bound=TrainingState[TrainingConfig])

Measuring: TypeAlias = Stage[
    Context[S],
    Context[S],
    TrainError | KitchenError,
    TrainingClient | SamplingClient | DatasetStore | Evaluator,
]

_BEGIN = ("load_dataset", "init_session", "init_tokenizer")
_END = ("save_final_weights", "measure", "register_model")


@attrs.frozen(kw_only=True)
class Method:
    """A training method.

    Args:
        name: of its workflow.
        config: the class of its configuration, with which a pipeline begins.
        entries: the stages that a pipeline can name.
        standard: the pipeline of an experiment that names none.
    """

    name: str
    config: type
    entries: Mapping[str, Entry]
    standard: tuple[str, ...]

    def with_entries(self, more: Mapping[str, Entry]) -> "Method":
        """Give a method whose pipelines can name more stages; one of the same name takes the place of the method's."""
        return attrs.evolve(self, entries={**self.entries, **more})


def supervised_method() -> Method:
    """Give supervised fine-tuning."""
    when = Conditions[SupervisedState]()
    own = (
        entry("build_supervised_dataset", build_supervised_dataset),
        entry("measure", measure_supervised, states=(SupervisedState, SupervisedState)),
        entry("train", imitate, states=(SupervisedState, SupervisedState), once=True),
        _registered(conditional(when.is_registered, register_model), SupervisedState),
    )
    standard = (*_BEGIN, "build_supervised_dataset", "measure", "train", *_END, "cleanup")
    return Method(name="supervised", config=SupervisedConfig, entries=_named(*_shared(), *own), standard=standard)


def preference_method() -> Method:
    """Give preference learning. What it trains on needs the reference's view of it, so that comes first."""
    when = Conditions[PreferenceState]()
    seen = ("compute_reference_logprobs",)
    own = (
        entry("build_preference_dataset", build_preference_dataset),
        entry("compute_reference_logprobs", compute_reference_logprobs),
        entry("evaluate_preferences", evaluate_preferences, after=seen),
        entry("measure", measure_preferences, states=(PreferenceState, PreferenceState), after=seen),
        entry("train", prefer, states=(PreferenceState, PreferenceState), after=seen, once=True),
        _registered(conditional(when.is_registered, register_model), PreferenceState),
    )
    standard = (*_BEGIN, "build_preference_dataset", *seen, "measure", "train", *_END, "cleanup")
    return Method(name="preference", config=PreferenceConfig, entries=_named(*_shared(), *own), standard=standard)


def reinforcement_method(environment_of: EnvironmentOf[R], *, side_by_side: bool = False) -> Method:
    """Give reinforcement learning in these environments, in turns or with sampling and training side by side."""
    when = Conditions[ReinforcementState]()
    rounds = rounds_ahead(environment_of) if side_by_side else rounds_in_turn(environment_of)
    own = (
        entry("build_problems", build_problems),
        entry("measure", measure_policy, states=(ReinforcementState, ReinforcementState)),
        entry("train", rounds, states=(ReinforcementState, ReinforcementState), once=True),
        _registered(conditional(when.is_registered, register_model), ReinforcementState),
    )
    return Method(
        name="reinforcement_async" if side_by_side else "reinforcement",
        config=ReinforcementConfig,
        entries=_named(*_shared(), *own),
        standard=(*_BEGIN, "build_problems", "measure", "train", *_END, "cleanup"),
    )


def distillation_method(*, forward_kl: bool = False) -> Method:
    """Give distillation, by the teachers' likeliest tokens or not. Whatever asks the teachers comes after they are opened."""
    when = Conditions[DistillationState]()
    taught = ("init_teacher",)
    training = train_forward_kl if forward_kl else distil
    own = (
        entry("answered_by_teachers", answered_by_teachers),
        entry("build_distillation_dataset", build_distillation_dataset),
        entry("init_teacher", init_teacher),
        entry("evaluate_distillation", evaluate_distillation, after=taught),
        entry("measure", measure_distillation, states=(DistillationState, DistillationState), after=taught),
        entry("train", training, states=(DistillationState, DistillationState), after=taught, once=True),
        _registered(conditional(when.is_registered, register_model), DistillationState),
        entry("cleanup_teacher", cleanup_teacher, after=taught),
    )
    begin = ("answered_by_teachers", *_BEGIN) if forward_kl else _BEGIN
    return Method(
        name="distillation_forward_kl" if forward_kl else "distillation",
        config=DistillationConfig,
        entries=_named(*_shared(), *own),
        standard=(
            *(*begin, "build_distillation_dataset", *taught, "measure", "train", *_END),
            *("cleanup_teacher", "cleanup"),
        ),
    )


def feedback_method() -> Method:
    """Give the feedback loop: `retrain` does all the rest where there is a reason, or each step stands by itself."""
    again = conditional(should_retrain, retrain)
    exported = ("export_feedback_data",)
    own = (
        entry("check_triggers", check_triggers),
        entry("retrain", again, states=(FeedbackState, FeedbackState)),
        entry("curate_data", curate_data),
        entry("export_feedback_data", export_feedback_data, after=("curate_data",)),
        entry(
            "train",
            zoom(retraining_config, with_trained, supervised),
            states=(FeedbackState, FeedbackState),
            after=exported,
        ),
        entry("update_baseline", update_baseline, after=("curate_data",)),
    )
    return Method(
        name="feedback_loop", config=FeedbackConfig, entries=_named(*own), standard=("check_triggers", "retrain")
    )


def evaluated(*, num_examples: int | None = None, max_tokens: int | None = None) -> Measuring[S]:
    """Make the stage that measures the model whether it was measured already or not, on so many examples if they are given.

    Where the experiment has no evaluation it does nothing, as `evaluate` does.

    Raises: ValueError for a number below 1.
    """
    for name, number in (("num_examples", num_examples), ("max_tokens", max_tokens)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")

    def asked(state: S) -> S:
        usual = state.config.evaluation
        if usual is None:
            return state
        changed = attrs.evolve(
            usual, num_examples=num_examples or usual.num_examples, max_tokens=max_tokens or usual.max_tokens
        )
        return attrs.evolve(state, config=attrs.evolve(state.config, evaluation=changed))

    def answered(state: S, after: S) -> S:
        return attrs.evolve(after, config=state.config)

    return zoom(asked, answered, evaluate)


def _shared() -> tuple[Entry, ...]:
    """Give what every training method has."""
    return (
        entry("load_dataset", load_dataset),
        entry("init_session", init_session),
        entry("init_tokenizer", init_tokenizer),
        entry_made("evaluate", evaluated),
        entry("save_checkpoint", save_checkpoint),
        entry("save_final_weights", save_final_weights),
        entry("cleanup", cleanup, closes=True),
    )


def _registered(part: Stage[Context[S], Context[S], KitchenError, object], state: type) -> Entry:
    return entry("register_model", part, states=(state, state), after=("save_final_weights",))


def _named(*entries: Entry) -> Mapping[str, Entry]:
    return {each.name: each for each in entries}
