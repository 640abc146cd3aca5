"""Every rule on several fields: what breaks it, where it says so, and that what it asks for is enough."""

from datetime import datetime
from typing import Any

import attrs
import pytest

from crucible.ir import (
    AggregationSpec,
    AlgorithmSpec,
    BackendRef,
    CurationSpec,
    DatasetRef,
    DeploymentSpec,
    DistillationSpec,
    EnsembleSpec,
    EvaluationSpec,
    Experiment,
    ExportSpec,
    FeedbackLoopSpec,
    FeedbackSpec,
    GuardrailSpec,
    HedgingSpec,
    LoraSpec,
    ModelRef,
    OutputSpec,
    PreferenceSpec,
    RateLimitSpec,
    ReinforcementSpec,
    ReliabilitySpec,
    RetrySpec,
    StageDef,
    StatsSpec,
    SupervisedSpec,
    TeacherSpec,
    TriggerSpec,
    problems_of,
)
from crucible.ir.check import class_of
from crucible.ir.rules import rules_of
from tests.ir.specs import KINDS

A, B = ModelRef(id="a"), ModelRef(id="b")
ROWS = DatasetRef(name="d")
HELD_OUT = DatasetRef(name="d", split="test")
PLAIN = Experiment(id="a", model=A, dataset=ROWS, backend=BackendRef(id="torch"), training=SupervisedSpec())
LOOP = FeedbackLoopSpec(deployment_id="d", export=ExportSpec(path="p"))
KEEPS = FeedbackSpec(path="f.db")


def experiment(**changes: Any) -> Experiment:
    return attrs.evolve(PLAIN, **changes)


TEACHERS = (TeacherSpec(model=A),)
BROKEN: list[tuple[Any, str]] = [
    (ModelRef(id="a", provider="local", revision="r"), "revision"),
    (DatasetRef(name="d", provider="file", config="c"), "config"),
    (DatasetRef(name="d", provider="reasoning_gym", revision="r"), "revision"),
    (BackendRef(id="tinker", options={"api_key": "tml-x"}), "options.api_key"),
    (BackendRef(id="torch", fallback=BackendRef(id="torch")), "fallback.id"),
    (
        BackendRef(id="torch", fallback=BackendRef(id="noop", fallback=BackendRef(id="torch"))),
        "fallback.fallback.id",
    ),
    (OutputSpec(name="o", sink="stdout", path="p"), "path"),
    (OutputSpec(name="o", sink="stdout", formats=("parquet",)), "formats"),
    (LoraSpec(train_mlp=False, train_attn=False), ""),
    (SupervisedSpec(eval_every=5), "eval_every"),
    (SupervisedSpec(start_from="a", resume_from="b"), "start_from"),
    (PreferenceSpec(loss="ipo", label_smoothing=0.1), "label_smoothing"),
    (AggregationSpec(kind="token_mean", max_tokens=5), "max_tokens"),
    (ReinforcementSpec(group_size=1), "group_size"),
    (ReinforcementSpec(group_size=1, algorithm=AlgorithmSpec(name="grpo")), "group_size"),
    (ReinforcementSpec(group_size=1, algorithm=AlgorithmSpec(baseline="none")), "group_size"),
    (ReinforcementSpec(reference_path="r"), "reference_path"),
    (ReinforcementSpec(max_staleness=2), "max_staleness"),
    (DistillationSpec(teachers=TEACHERS, num_top=4), "num_top"),
    (DistillationSpec(teachers=TEACHERS, mode="off_policy", tail="drop"), "tail"),
    (DistillationSpec(teachers=TEACHERS, mode="off_policy", kl_coef=0.5), "kl_coef"),
    (DistillationSpec(teachers=TEACHERS, mode="forward_kl", kl_discount=0.5), "kl_discount"),
    (RateLimitSpec(most=0.5), "most"),
    (AlgorithmSpec(name="grpo", loss_fn="dro"), "loss_fn"),
    (AlgorithmSpec(loss_fn="dro", aggregation=AggregationSpec(kind="token_mean")), "loss_fn"),
    (DeploymentSpec(id="d", model="m", strategy="canary"), "traffic"),
    (DeploymentSpec(id="d", model="m", traffic=0.5), "traffic"),
    (FeedbackSpec(), "path"),
    (FeedbackSpec(storage="noop", path="p"), "path"),
    (FeedbackSpec(path="p", feedback_types=("score",), curation=CurationSpec()), "curation.sources"),
    (attrs.evolve(LOOP, min_examples=200), "min_examples"),
    (EnsembleSpec(models=(A, B), strategy="weighted", weights=(1.0,)), "weights"),
    (EnsembleSpec(models=(A, B), weights=(1.0, 1.0)), "weights"),
    (EnsembleSpec(models=(A, B), strategy="weighted", weights=(1.0, -1.0)), "weights"),
    (EnsembleSpec(models=(A, B), strategy="weighted", weights=(0.0, 0.0)), "weights"),
    (HedgingSpec(strategy="fixed"), "delay_seconds"),
    (HedgingSpec(strategy="percentile"), "percentile"),
    (HedgingSpec(percentile=95.0, delay_seconds=1.0), "delay_seconds"),
    (GuardrailSpec(redact_pii=True), "redact_pii"),
    (StatsSpec(test="paired_t"), "test"),
    (StatsSpec(test="welch", paired=True), "test"),
    (RetrySpec(first_seconds=2.0, most_seconds=1.0), "first_seconds"),
    (ReliabilitySpec(ensemble=EnsembleSpec(models=(A, B), execution_mode="hedged")), "hedging"),
    (experiment(training=None), "training"),
    (experiment(training=None, experiment_type="evaluation"), "pipeline"),
    (
        experiment(training=None, experiment_type="evaluation", pipeline=(StageDef(name="s", enabled=False),)),
        "pipeline",
    ),
    (experiment(dataset=None), "dataset"),
    (experiment(training=SupervisedSpec(evaluation=EvaluationSpec(dataset=ROWS))), "training.evaluation.dataset"),
    (experiment(training=PreferenceSpec(held_out=attrs.evolve(ROWS, num_rows=3))), "training.held_out"),
    (
        experiment(
            dataset=DatasetRef(name="t", provider="reasoning_gym", options={"size": 8}),
            training=SupervisedSpec(
                evaluation=EvaluationSpec(dataset=DatasetRef(name="t", provider="reasoning_gym", options={"size": 4}))
            ),
        ),
        "training.evaluation.dataset",
    ),
    (experiment(model=ModelRef(id="a", provider="tinker")), "model.provider"),
    (experiment(model=ModelRef(id="a", provider="local"), backend=BackendRef(id="tinker")), "model.provider"),
    (
        experiment(
            backend=BackendRef(id="tinker"),
            training=DistillationSpec(teachers=(TeacherSpec(model=ModelRef(id="a", provider="local")),)),
        ),
        "training.teachers[0].model.provider",
    ),
    (experiment(experiment_type="comparison"), "baseline"),
    (experiment(baseline="a"), "baseline"),
    (experiment(reliability=ReliabilitySpec(stats=StatsSpec())), "reliability.stats"),
    (experiment(outputs=(OutputSpec(name="o"), OutputSpec(name="o"))), "outputs[1].name"),
    (experiment(training=LOOP, feedback=attrs.evolve(KEEPS, thresholds=TriggerSpec())), "feedback.thresholds"),
    (experiment(training=LOOP, feedback=attrs.evolve(KEEPS, curation=CurationSpec())), "feedback.curation"),
]
SOUND: list[Any] = [
    PLAIN,
    LOOP,
    KEEPS,
    experiment(training=LOOP, dataset=None, feedback=KEEPS),
    ReinforcementSpec(group_size=1, algorithm=AlgorithmSpec(name="grpo", baseline="none")),
    ReinforcementSpec(reference_path="r", kl_coef=0.1, asynchronous=True, max_staleness=2),
    DistillationSpec(teachers=TEACHERS, kl_coef=0.5, kl_discount=0.5),
    DistillationSpec(teachers=TEACHERS, mode="forward_kl", num_top=4, tail="drop"),
    RateLimitSpec(most=0.5, unit="tokens"),
    experiment(training=None, experiment_type="evaluation", pipeline=(StageDef(name="s"),)),
    experiment(training=SupervisedSpec(evaluation=EvaluationSpec(dataset=HELD_OUT), eval_every=5)),
    experiment(training=PreferenceSpec(held_out=HELD_OUT, eval_every=5)),
    experiment(model=ModelRef(id="a", provider="tinker"), backend=BackendRef(id="noop")),
    BackendRef(id="tinker", fallback=BackendRef(id="torch", fallback=BackendRef(id="noop"))),
    AlgorithmSpec(loss_fn="dro"),
    StatsSpec(test="fisher", paired=True),
    ReliabilitySpec(
        ensemble=EnsembleSpec(models=(A, B), execution_mode="hedged"), hedging=HedgingSpec(percentile=95.0)
    ),
]


@pytest.mark.parametrize(("spec", "path"), BROKEN, ids=lambda it: it if isinstance(it, str) else type(it).__name__)
def test_a_broken_rule_is_one_problem_at_its_place(spec: Any, path: str) -> None:
    assert [problem.path for problem in problems_of(spec)] == [path]


@pytest.mark.parametrize("spec", SOUND, ids=lambda it: type(it).__name__)
def test_what_keeps_the_rules_has_no_problem(spec: Any) -> None:
    assert problems_of(spec) == ()


def test_every_rule_is_broken_by_an_example_here() -> None:
    rules = {rule.ask.__qualname__ for kind in KINDS for rule in rules_of(kind)}
    broken = {rule.ask.__qualname__ for spec, _ in BROKEN for rule in rules_of(class_of(spec)) if list(rule.ask(spec))}
    assert rules == broken


LIMITED: list[tuple[Any, str, str]] = [
    (ModelRef(id=""), "id", "must not be empty"),
    (DatasetRef(name="d", num_rows=0), "num_rows", "must be at least 1, not 0"),
    (LoraSpec(alpha=0.0), "alpha", "must be above 0, not 0.0"),
    (LoraSpec(alpha=float("nan")), "alpha", "must be a finite number, not nan"),
    (LoraSpec(seed=2**63), "seed", "must fit into 64 bits"),
    (PreferenceSpec(label_smoothing=0.5), "label_smoothing", "must be below 0.5, not 0.5"),
    (attrs.evolve(KEEPS, sampling_rate=1.5), "sampling_rate", "must be at most 1, not 1.5"),
    (OutputSpec(name="o", formats=()), "formats", "must not be empty"),
    (OutputSpec(name="o", formats=("csv", "csv")), "formats[1]", "'csv' is there twice"),
    (EnsembleSpec(models=(A,)), "models", "must have at least 2 items"),
    (DistillationSpec(teachers=()), "teachers", "must not be empty"),
    (StageDef(name="\ud800"), "name", "holds half a character (a lone surrogate), which no file can"),
    (experiment(id=".."), "id", "must match [A-Za-z0-9][A-Za-z0-9._-]*, which '..' does not"),
    (experiment(tags=("a", "a")), "tags[1]", "'a' is there twice"),
    (experiment(tags=["a"]), "tags", "must be a tuple, not a list"),
    (experiment(created_at=datetime(2026, 1, 1)), "created_at", "must have a time zone"),  # noqa: DTZ001  # that is it
    (
        experiment(metadata={"a": {"b c": [1, float("inf")]}}),
        'metadata.a["b c"][1]',
        "must be a finite number, not inf",
    ),
    (experiment(metadata={"a": (1,)}), "metadata.a", "must be plain data, not a list: tuple"),
    (experiment(metadata={"a": {1: 2}}), "metadata.a", "the key 1 must be a text"),
    (experiment(metadata={"a": A}), "metadata.a", "must be plain data, not a ModelRef: ModelRef"),
    (experiment(seed=True), "seed", "must be a whole number, not true"),
]


@pytest.mark.parametrize(("spec", "path", "message"), LIMITED)
def test_a_value_outside_of_its_limits_is_one_problem(spec: Any, path: str, message: str) -> None:
    assert [(problem.path, problem.message) for problem in problems_of(spec)] == [(path, message)]


@pytest.mark.parametrize("name", ["../results", "a/b", "a\\b", "a\x00", "line\nbreak"])
def test_an_output_stays_in_its_folder(name: str) -> None:
    assert [problem.path for problem in problems_of(OutputSpec(name=name))] == ["name"]


def test_rows_of_a_hub_differ_by_any_option() -> None:
    first = DatasetRef(name="d", options={"size": 1})
    assert not first.has_the_rows_of(DatasetRef(name="d", options={"size": 2}))
