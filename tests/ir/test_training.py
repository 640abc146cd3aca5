"""The training specs can say what the configurations of the workflows can, under the same names, with the same defaults."""

from enum import Enum
from typing import Any, get_args

import attrs
import pytest

from crucible.fields import field_types
from crucible.ir import (
    AdamSpec,
    AlgorithmSpec,
    CurationSpec,
    DistillationSpec,
    EvaluationSpec,
    ExportSpec,
    FeedbackLoopSpec,
    LoraSpec,
    PreferenceSpec,
    ReinforcementSpec,
    RolloutLimitsSpec,
    SupervisedSpec,
    TriggerSpec,
)
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.ports import CurationOptions, ExportOptions, TriggerThresholds
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.feedback import FeedbackConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.train.algorithms import policy_gradient
from crucible.train.environments import RolloutLimits
from crucible.train.types import AdamParams, LoraConfig

SAID_BY_THE_EXPERIMENT = {"session", "dataset", "num_rows"}
OTHER_DEFAULTS = {
    (LoraSpec, "seed"),  # the experiment's
    (SupervisedSpec, "seed"),
    (PreferenceSpec, "seed"),
    (ReinforcementSpec, "seed"),
    (DistillationSpec, "seed"),
    (FeedbackLoopSpec, "retraining"),  # here a run is its method's defaults where nothing is said
    (AdamSpec, "grad_clip_norm"),  # that of a training run, not of the Tinker API
    (CurationSpec, "sources"),  # those of a feedback loop
}
PAIRS: list[tuple[Any, Any]] = [
    (LoraSpec, LoraConfig),
    (AdamSpec, AdamParams),
    (EvaluationSpec, EvaluationConfig),
    (SupervisedSpec, SupervisedConfig),
    (PreferenceSpec, PreferenceConfig),
    (ReinforcementSpec, ReinforcementConfig),
    (DistillationSpec, DistillationConfig),
    (FeedbackLoopSpec, FeedbackConfig),
    (RolloutLimitsSpec, RolloutLimits),
    (TriggerSpec, TriggerThresholds),
    (CurationSpec, CurationOptions),
    (ExportSpec, ExportOptions),
]


def plain_default(field: "attrs.Attribute[Any]") -> object:
    """Give a default that is plain, in the form that a spec has it; NOTHING for another."""
    default = field.default
    if default is attrs.NOTHING:
        return default
    if isinstance(default, Enum):
        return default.value
    return default if default is None or isinstance(default, bool | int | float | str | tuple) else attrs.NOTHING


@pytest.mark.parametrize(("spec", "config"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_spec_says_what_the_configuration_says(spec: Any, config: Any) -> None:
    ours = {field.name: field for field in attrs.fields(spec)}
    for field in attrs.fields(config):
        if field.name in SAID_BY_THE_EXPERIMENT or (spec is AdamSpec and field.name == "learning_rate"):
            continue
        assert field.name in ours
        if (spec, field.name) not in OTHER_DEFAULTS:
            assert plain_default(ours[field.name]) == plain_default(field), field.name


def test_the_optimizer_and_the_curation_begin_as_in_a_run() -> None:
    run: Any = attrs.fields(SupervisedConfig).adam.default
    assert AdamSpec().grad_clip_norm == run.grad_clip_norm
    loop: Any = attrs.fields(FeedbackConfig).curation.default
    assert CurationSpec().sources == loop.sources


@pytest.mark.parametrize(
    ("spec", "config", "name"),
    [
        (SupervisedSpec, SupervisedConfig, "schedule"),
        (PreferenceSpec, PreferenceConfig, "loss"),
        (DistillationSpec, DistillationConfig, "tail"),
        (ExportSpec, ExportOptions, "format"),
    ],
)
def test_choices_are_those_of_the_configuration(spec: Any, config: Any, name: str) -> None:
    assert set(get_args(field_types(spec)[name])) == set(get_args(field_types(config)[name]))


def test_what_to_train_on_is_what_a_renderer_knows() -> None:
    known = {it.value for it in field_types(SupervisedConfig)["train_on"]}  # type: ignore[attr-defined]  # an enum
    assert set(get_args(field_types(SupervisedSpec)["train_on"])) == known


def test_every_algorithm_is_one_that_there_is() -> None:
    for name in get_args(field_types(AlgorithmSpec)["name"]):
        assert callable(getattr(policy_gradient, name))


@pytest.mark.parametrize("name", ["baseline"])
def test_the_parts_of_an_algorithm_are_those_of_policy_gradient(name: str) -> None:
    ours = {it for part in get_args(field_types(AlgorithmSpec)[name]) for it in get_args(part)}
    assert ours == set(get_args(field_types(policy_gradient.PolicyGradient)[name]))
