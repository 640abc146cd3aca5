"""Every option acts or is refused: one field of a configuration at a time is changed, and the run does something else, or fails.

Fields are found by walking the configurations, so that a new one is here by itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.effects import Eff, Failure
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig, TrainingConfig
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows.distillation import distillation, distillation_forward_kl
from crucible.kitchen.workflows.preference import preference
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.kitchen.workflows.supervised import supervised
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.environments import RolloutLimits
from crucible.train.types import AdamParams, DatasetConfig, Row, SamplingConfig, SessionConfig
from tests.kitchen.changes import is_one_of_many, leaves, variants
from tests.kitchen.workflows.arenas import chatting
from tests.kitchen.workflows.runs import Ran, on_nothing, ran
from tests.kitchen.workflows.test_feedback_loop import BASE as LOOP
from tests.kitchen.workflows.test_feedback_loop import looped
from tests.kitchen.workflows.test_reinforcement_async import paced

LONG = "a text that is longer than all the others, so that it has to be cut somewhere, " * 4
TALK: Row = {
    "messages": [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": "1?"},
        {"role": "assistant", "content": "1!"},
        {"role": "user", "content": "2?"},
        {"role": "assistant", "content": "2!"},
    ]
}
ASKED: tuple[Row, ...] = (*({"prompt": f"{number}?", "completion": f"{number}!"} for number in range(5)),)
PAIRS: tuple[Row, ...] = tuple(
    {"prompt": f"{n}?", "chosen": f"{n}!", "rejected": f"{n}.", "completion": f"{n}!"} for n in range(5)
)
SHARED: dict[str, Any] = {
    "session": SessionConfig(model="noop", metadata={"who": "me"}),
    "dataset": DatasetConfig(name="rows"),
    "num_rows": 6,
    "epochs": 2,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "save_every": 2,
    "eval_every": 3,
    "seed": 1,
    "truncate": True,
    "adam": AdamParams(grad_clip_norm=1.0, weight_decay=0.1),
    "evaluation": EvaluationConfig(dataset=DatasetConfig(name="rows", split="test"), num_examples=3, batch_size=2),
    "register_as": "model",
}
SAMPLED: dict[str, Any] = {"max_tokens": 4, "group_size": 3, "temperature": 0.9, "max_length": 60}
ON_POLICY: dict[str, Any] = {**SHARED, **SAMPLED, "policy_epochs": 2, "num_minibatches": 2}
TEACHERS = (SamplingConfig(model="other"),)
REINFORCED = ReinforcementConfig(
    **ON_POLICY, algorithm=grpo(), kl_coef=0.1, reference_batch=2, limits=RolloutLimits(max_turns=2)
)
TAUGHT = DistillationConfig(**ON_POLICY, teachers=TEACHERS, teacher_batch=2, kl_discount=0.5)
LOOPED = attrs.evolve(
    LOOP, retraining=attrs.evolve(LOOP.retraining, schedule="linear", warmup_steps=2, max_length=60, truncate=True)
)


@attrs.frozen
class Case:
    """A workflow with a configuration in which every option has something to do, on rows of which one is too long."""

    name: str
    config: Any
    run: Callable[[Any], Ran[Any, Any]]


def on(
    workflow: Callable[[Context[Any]], Eff[Any, Any, Any]], rows: tuple[Row, ...], *, pace: int = 0
) -> Callable[[Any], Ran[Any, Any]]:
    """Run a workflow on rows, the last of them long; those that are held out too."""

    def run(config: Any) -> Ran[Any, Any]:
        handlers = on_nothing(rows, rows[:4])
        slow = paced(handlers, sampling=0, training=pace) if pace else handlers
        return ran(slow, workflow(Context.start(config, run_id="evening")))

    return run


TALKS = (*ASKED[:4], TALK, {"prompt": "?", "completion": LONG})
QUESTIONS = (*ASKED, {"prompt": LONG, "completion": "yes"})
DUELS = (*PAIRS, {"prompt": "?", "chosen": LONG, "rejected": "no"})
CASES = (
    Case("supervised", SupervisedConfig(**SHARED, max_length=200), on(supervised, TALKS)),
    Case(
        "preference",
        PreferenceConfig(
            **SHARED, max_length=200, reference_batch=2, held_out=DatasetConfig(name="duels", split="test")
        ),
        on(preference, DUELS),
    ),
    Case("reinforcement", REINFORCED, on(reinforcement(chatting), QUESTIONS)),
    Case(
        "reinforcement_async",
        attrs.evolve(REINFORCED, max_staleness=2, save_every=20),
        on(reinforcement_async(chatting), QUESTIONS, pace=4),
    ),
    Case("distillation", TAUGHT, on(distillation, QUESTIONS)),
    Case(
        "distillation_off_policy",
        DistillationConfig(**SHARED, **SAMPLED, teachers=TEACHERS, teacher_batch=2, mode="off_policy"),
        on(distillation, QUESTIONS),
    ),
    Case(
        "distillation_forward_kl",
        DistillationConfig(**SHARED, **SAMPLED, teachers=TEACHERS, num_top=3),
        on(distillation_forward_kl, QUESTIONS),
    ),
    Case("feedback_loop", LOOPED, looped),
)

# What does nothing, and why that is right.
NOTHING_FAILS = "no episode fails here; test_reinforcement_failures has runs that it stops"
WITHOUT_EFFECT: Mapping[tuple[str, str], str] = {
    ("reinforcement", "max_failed_share"): NOTHING_FAILS,
    ("reinforcement", "max_failing_rounds"): NOTHING_FAILS,
    ("reinforcement_async", "max_failed_share"): NOTHING_FAILS,
    ("reinforcement_async", "max_failing_rounds"): NOTHING_FAILS,
    ("distillation_forward_kl", "mode"): "the workflow is the mode: it is the teachers who answer",
    ("feedback_loop", "retraining.dataset.name"): "the exported file takes its place",
    ("feedback_loop", "retraining.dataset.split"): "the exported file takes its place",
    ("feedback_loop", "retraining.num_rows"): "all that is exported is trained on",
}


def does(run: Ran[Any, Any]) -> list[object]:
    """Give the operations of a run with their arguments, and what it told."""
    calls = [(one.call.name, one.call.arguments, dict(one.call.keywords)) for one in run.log.calls]
    return [*calls, *(event for _, event in run.told.events)]


FIELDS = [(case, path) for case in CASES for path in leaves(case.config)]
SHARED_NAMES = {field.name for field in attrs.fields(TrainingConfig)}
SWEPT = [
    (case, path)
    for index, (case, path) in enumerate(FIELDS)
    if path[0] not in SHARED_NAMES or path not in [other for _, other in FIELDS[:index]]
]
PLAIN: dict[str, Ran[Any, Any]] = {}


def plain(case: Case) -> Ran[Any, Any]:
    return PLAIN.setdefault(case.name, case.run(case.config))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_configuration_that_is_changed_can_be_run(case: Case) -> None:
    assert not isinstance(plain(case).outcome, Failure), plain(case).outcome


@pytest.mark.parametrize(("case", "path"), SWEPT, ids=lambda it: ".".join(it) if isinstance(it, tuple) else it.name)
def test_every_option_acts_or_is_refused(case: Case, path: tuple[str, ...]) -> None:
    assert is_without_effect(case, path) == ((case.name, ".".join(path)) in WITHOUT_EFFECT)


@settings(max_examples=30)
@given(st.sampled_from([field for field in FIELDS if field not in SWEPT]))
def test_what_workflows_share_acts_in_each_of_them(field: tuple[Case, tuple[str, ...]]) -> None:
    case, path = field
    assert is_without_effect(case, path) == ((case.name, ".".join(path)) in WITHOUT_EFFECT)


def is_without_effect(case: Case, path: tuple[str, ...]) -> bool:
    """Tell whether a run goes the same whatever a field says; for a choice, whether it does with any of the others."""
    usual = does(plain(case))

    def is_the_same(config: Any) -> bool:
        run = case.run(config)
        return not isinstance(run.outcome, Failure) and does(run) == usual

    tried = list(variants(case.config, path))
    same = (is_the_same(config) for _, config in tried)
    without_effect = all(same) if is_one_of_many(case.config, path) else any(same)
    return bool(tried) and without_effect
