"""Specs and configurations have the same fields, and each field of a spec reaches the configuration."""

from collections.abc import Iterator, Mapping

import attrs
import pytest

from crucible.ir import (
    AdamSpec,
    AggregationSpec,
    AlgorithmSpec,
    CurationSpec,
    DatasetRef,
    DistillationSpec,
    EvaluationSpec,
    ExportSpec,
    FeedbackLoopSpec,
    LoraSpec,
    ModelRef,
    PreferenceSpec,
    ReinforcementSpec,
    RolloutLimitsSpec,
    SupervisedSpec,
    TeacherSpec,
    TriggerSpec,
)
from crucible.kitchen.compiling.algorithms import algorithm_of
from crucible.kitchen.compiling.configs import config_of, dataset_config
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.ports import CurationOptions, ExportOptions, TriggerThresholds
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.feedback import FeedbackConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.train.algorithms.policy_gradient import PolicyGradient, dapo, dr_grpo, grpo, ppo_clip, reinforce
from crucible.train.environments import RolloutLimits
from crucible.train.types import AdamParams, DatasetConfig, LoraConfig, SamplingConfig
from tests.kitchen.compiling.experiments import OF_ROWS, TEACHER, TrainingOfRows, loop, problems, rehearsal

# What stands elsewhere in an experiment, or is a part of another field there.
MOVED: Mapping[type, tuple[set[str], set[str]]] = {
    SupervisedSpec: ({"session", "dataset", "num_rows"}, {"method", "lora", "session_metadata"}),
    PreferenceSpec: ({"session", "dataset", "num_rows"}, {"method", "lora", "session_metadata"}),
    ReinforcementSpec: (
        {"session", "dataset", "num_rows"},
        {"method", "lora", "session_metadata", "environment", "asynchronous"},  # these make the workflow
    ),
    DistillationSpec: ({"session", "dataset", "num_rows"}, {"method", "lora", "session_metadata"}),
    FeedbackLoopSpec: (set(), {"method"}),
    AdamSpec: ({"learning_rate"}, set()),
    TeacherSpec: (set(), set()),
    DatasetRef: (set(), {"provider", "num_rows"}),
}
PAIRS: list[tuple[type, type]] = [
    (SupervisedSpec, SupervisedConfig),
    (PreferenceSpec, PreferenceConfig),
    (ReinforcementSpec, ReinforcementConfig),
    (DistillationSpec, DistillationConfig),
    (FeedbackLoopSpec, FeedbackConfig),
    (EvaluationSpec, EvaluationConfig),
    (AdamSpec, AdamParams),
    (LoraSpec, LoraConfig),
    (TeacherSpec, SamplingConfig),
    (DatasetRef, DatasetConfig),
    (RolloutLimitsSpec, RolloutLimits),
    (TriggerSpec, TriggerThresholds),
    (CurationSpec, CurationOptions),
    (ExportSpec, ExportOptions),
]


def names(kind: type) -> set[str]:
    return {field.name for field in attrs.fields(kind)}


@pytest.mark.parametrize(("spec", "config"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_spec_and_its_configuration_have_the_same_fields(spec: type, config: type) -> None:
    elsewhere, of_the_spec_alone = MOVED.get(spec, (set(), set()))
    assert names(config) - elsewhere == names(spec) - of_the_spec_alone


OTHER: Mapping[str, object] = {
    "lora": LoraSpec(rank=3, alpha=5.0, train_mlp=False, seed=9),
    "epochs": 3,
    "batch_size": 5,
    "learning_rate": 0.03,
    "schedule": "cosine",
    "warmup_steps": 4,
    "adam": AdamSpec(beta1=0.5, beta2=0.6, eps=1e-3, weight_decay=0.1, grad_clip_norm=2.0),
    "max_length": 77,
    "truncate": True,
    "seed": 11,
    "save_every": 6,
    "eval_every": 7,
    "evaluation": EvaluationSpec(
        dataset=DatasetRef(name="other", num_rows=4), num_examples=9, max_tokens=3, batch_size=2
    ),
    "resume_from": "checkpoint",
    "start_from": "other checkpoint",
    "register_as": "name",
    "session_metadata": {"who": "me"},
    "train_on": "all_tokens",
    "loss": "ipo",
    "beta": 0.7,
    "label_smoothing": 0.2,
    "reference_path": "reference",
    "reference_batch": 3,
    "held_out": DatasetRef(name="pairs"),
    "group_size": 6,
    "max_tokens": 12,
    "temperature": 0.4,
    "policy_epochs": 2,
    "num_minibatches": 3,
    "algorithm": AlgorithmSpec(name="grpo"),
    "limits": RolloutLimitsSpec(max_turns=3, max_prompt_tokens=99),
    "kl_coef": 0.6,
    "max_staleness": 4,
    "max_failed_share": 0.25,
    "max_failing_rounds": 2,
    "teachers": (TEACHER, TeacherSpec(model=ModelRef(id="b"), weights_path="w")),
    "mode": "off_policy",
    "kl_discount": 0.5,
    "teacher_batch": 8,
    "num_top": 3,
    "tail": "drop",
}
MAKES_THE_WORKFLOW = {"method", "environment", "asynchronous"}
OFF_POLICY = {"off_policy", "forward_kl"}


def changes() -> Iterator[tuple[TrainingOfRows, str]]:
    for training in OF_ROWS:
        for field in attrs.fields(type(training)):
            value = getattr(training, field.name)
            if field.name not in MAKES_THE_WORKFLOW and value != OTHER.get(field.name) and str(value) not in OFF_POLICY:
                yield training, field.name


def fields_of(training: TrainingOfRows) -> dict[str, object]:
    """Give the configuration by its fields, the validity of the whole aside."""
    made = config_of(rehearsal(training))
    if made.value_or(None) is None:  # some values go with others only
        return {"problems": made.failure()}
    return {name: getattr(made.unwrap(), name) for name in names(type(made.unwrap()))}


@pytest.mark.parametrize(("training", "name"), list(changes()), ids=str)
def test_every_field_of_a_training_changes_the_configuration_and_only_its_own_field(
    training: TrainingOfRows, name: str
) -> None:
    plain = fields_of(training)
    other = fields_of(attrs.evolve(training, **{name: OTHER[name]}))  # type: ignore[arg-type]  # by the name of the field
    changed = {key for key in other if other[key] != plain.get(key)}
    own = {"lora": "session", "session_metadata": "session"}.get(name, name)
    with_it = {"evaluation": {"evaluation"}, "max_tokens": {"max_tokens"}}.get(name, {own})
    assert changed == with_it or "problems" in changed


def test_the_seed_of_the_experiment_is_that_of_everything_without_its_own() -> None:
    experiment = attrs.evolve(rehearsal(), seed=42)
    config = config_of(experiment).unwrap()
    assert isinstance(config, SupervisedConfig)
    assert (config.seed, config.session.lora.seed) == (42, 42)
    own = attrs.evolve(experiment, training=attrs.evolve(SupervisedSpec(), seed=1, lora=LoraSpec(seed=2)))
    config = config_of(own).unwrap()
    assert isinstance(config, SupervisedConfig)
    assert (config.seed, config.session.lora.seed) == (1, 2)


def test_no_more_rows_are_measured_than_a_dataset_is_to_give() -> None:
    evaluation = EvaluationSpec(dataset=DatasetRef(name="few", num_rows=3), num_examples=10)
    config = config_of(rehearsal(SupervisedSpec(evaluation=evaluation))).unwrap()
    assert isinstance(config, SupervisedConfig)
    assert config.evaluation == EvaluationConfig(dataset=dataset_config(evaluation.dataset), num_examples=3)


def test_the_rows_of_a_feedback_loop_are_what_it_exports() -> None:
    config = config_of(loop()).unwrap()
    assert isinstance(config, FeedbackConfig)
    assert config.export == ExportOptions(path="curated.jsonl")
    assert config.retraining.session.model == "model"


def test_what_a_configuration_finds_wrong_has_its_place_in_the_spec() -> None:
    rows = rehearsal().dataset
    assert rows is not None
    evaluation = EvaluationSpec(dataset=attrs.evolve(rows, provider="file", name="rows"))
    experiment = attrs.evolve(rehearsal(SupervisedSpec(evaluation=evaluation)), dataset=rows)
    assert "hold out another split" in problems(experiment)["training.evaluation.dataset"]


@pytest.mark.parametrize(
    ("spec", "algorithm"),
    [
        (AlgorithmSpec(), reinforce()),
        (AlgorithmSpec(name="dapo"), dapo()),
        (AlgorithmSpec(name="dr_grpo"), dr_grpo(max_tokens=8)),
        (AlgorithmSpec(name="grpo", baseline="mean"), attrs.evolve(grpo(), baseline="mean")),
        (AlgorithmSpec(loss_fn="ppo"), attrs.evolve(reinforce(), loss=ppo_clip())),
        (AlgorithmSpec(name="grpo", loss_fn="ppo"), grpo()),
        (AlgorithmSpec(drop_constant_groups=False), attrs.evolve(reinforce(), drop_constant_groups=False)),
    ],
)
def test_an_algorithm_is_one_by_name_with_what_is_to_be_different(
    spec: AlgorithmSpec, algorithm: PolicyGradient
) -> None:
    assert algorithm_of(spec, max_tokens=8) == algorithm


def test_a_number_that_a_loss_does_not_take_is_a_problem() -> None:
    spec = AlgorithmSpec(name="grpo", loss_fn_config={"clip": 0.2})
    found = problems(rehearsal(ReinforcementSpec(algorithm=spec)))
    assert found["training.algorithm.loss_fn_config"].endswith(
        "clip: there are clip_high_threshold, clip_low_threshold"
    )


def test_numbers_of_a_loss_and_a_fixed_length_are_taken_over() -> None:
    spec = AlgorithmSpec(
        loss_fn="cispo", loss_fn_config={"clip_high_threshold": 3.0}, aggregation=AggregationSpec(kind="fixed_length")
    )
    made = algorithm_of(spec, max_tokens=8)
    assert dict(made.loss.loss_fn_config) == {"clip_high_threshold": 3.0}
    assert (made.aggregation.kind, made.aggregation.max_tokens) == ("fixed_length", 8)
