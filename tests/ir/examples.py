"""Experiments that say everything: between them every field of every spec is there, and none has its default."""

from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from crucible.ir import (
    AdamSpec,
    AggregationSpec,
    AlgorithmSpec,
    BackendRef,
    BudgetSpec,
    CircuitBreakerSpec,
    CurationSpec,
    DatasetRef,
    DeadlineSpec,
    DeploymentSpec,
    DistillationSpec,
    EnsembleSpec,
    EnvironmentSpec,
    EvaluationSpec,
    EvaluatorRef,
    Experiment,
    ExportSpec,
    FairnessSpec,
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
    RolloutLimitsSpec,
    StageDef,
    StatsSpec,
    SupervisedSpec,
    TeacherSpec,
    TriggerSpec,
)

HELD_OUT = DatasetRef(
    name="owner/rows",
    split="test",
    config="main",
    revision="abc",
    streaming=True,
    options={"size": 50, "deep": {"a.b": [1, 2.5, "x", True]}},
    num_rows=20,
)
TRAINING = SupervisedSpec(
    lora=LoraSpec(rank=8, alpha=16.0, seed=3, train_mlp=False, train_attn=False, train_unembed=True),
    epochs=2,
    batch_size=8,
    learning_rate=1e-4,
    schedule="cosine",
    warmup_steps=5,
    adam=AdamSpec(beta1=0.8, beta2=0.99, eps=1e-8, weight_decay=0.01, grad_clip_norm=0.5),
    max_length=512,
    truncate=True,
    seed=4,
    save_every=10,
    eval_every=20,
    evaluation=EvaluationSpec(dataset=HELD_OUT, num_examples=10, max_tokens=20, batch_size=5),
    start_from="runs/a/checkpoint",
    register_as="adder",
    session_metadata={"team": "blue"},
    train_on="all_assistant_messages",
)
SHARED: dict[str, Any] = {
    field.name: getattr(TRAINING, field.name)
    for field in attrs.fields(SupervisedSpec)
    if field.name not in {"method", "train_on"}
}
RESUMED: dict[str, Any] = {**SHARED, "start_from": None, "resume_from": "runs/a/checkpoint"}
ON_POLICY: dict[str, Any] = {
    "group_size": 6,
    "max_tokens": 32,
    "temperature": 0.7,
    "policy_epochs": 2,
    "num_minibatches": 3,
}
PREFERENCE = PreferenceSpec(
    **RESUMED,
    loss="dpo",
    beta=0.2,
    label_smoothing=0.1,
    reference_path="runs/a/weights",
    reference_batch=4,
    held_out=HELD_OUT,
)
REINFORCEMENT = ReinforcementSpec(
    **SHARED,
    **ON_POLICY,
    algorithm=AlgorithmSpec(
        name="grpo",
        loss_fn="ppo",
        loss_fn_config={"clip_low_threshold": 0.9},
        baseline="mean",
        aggregation=AggregationSpec(kind="fixed_length", max_tokens=32),
        drop_constant_groups=True,
    ),
    environment=EnvironmentSpec(extract="boxed", system="Box the answer.", format_coef=0.2, needs_answer=False),
    limits=RolloutLimitsSpec(max_turns=3, max_prompt_tokens=100),
    kl_coef=0.01,
    reference_path="runs/a/weights",
    reference_batch=4,
    asynchronous=True,
    max_staleness=2,
    max_failed_share=0.25,
    max_failing_rounds=2,
)
DISTILLATION = DistillationSpec(
    **SHARED,
    **ON_POLICY,
    teachers=(
        TeacherSpec(model=ModelRef(id="teacher"), weights_path="runs/t/weights"),
        TeacherSpec(model=ModelRef(id="b")),
    ),
    mode="on_policy",
    kl_coef=0.5,
    kl_discount=0.9,
    teacher_batch=8,
)
LOOP = FeedbackLoopSpec(
    deployment_id="adder-live",
    export=ExportSpec(path="today.parquet", format="parquet"),
    retraining=TRAINING,
    thresholds=TriggerSpec(drift=0.3, quality=0.6, num_examples=50),
    curation=CurationSpec(limit=40, sources=("diverse",), min_score=0.5, include_trained=True),
    min_examples=10,
)
RELIABILITY = ReliabilitySpec(
    ensemble=EnsembleSpec(
        models=(ModelRef(id="a"), ModelRef(id="b")),
        strategy="weighted",
        execution_mode="hedged",
        weights=(0.25, 0.75),
        min_agreement=0.6,
        timeout_seconds=10.5,
    ),
    hedging=HedgingSpec(strategy="fixed", delay_seconds=1.5, warm_up=5, max_hedges=2, most_share=0.1),
    guardrail=GuardrailSpec(profile="strict", checks=("pii",), redact_pii=True, fail_on_detection=False),
    fairness=FairnessSpec(group_by="language", metrics=("equalized_odds",), threshold=0.05, fail_on_violation=True),
    stats=StatsSpec(metrics=("accuracy",), test="wilcoxon", paired=True, confidence=0.99, correction="fdr"),
    retry=RetrySpec(attempts=5, first_seconds=1.0, most_seconds=30.0),
    deadline=DeadlineSpec(seconds=120.0),
    rate_limit=RateLimitSpec(most=100.0, per_seconds=1.0, unit="tokens"),
    circuit_breaker=CircuitBreakerSpec(failures=3, reset_seconds=5.0),
    budget=BudgetSpec(limit=1000.0, unit="tokens"),
)
FEEDBACK = FeedbackSpec(
    storage="sqlite",
    path="feedback.db",
    export_folder="exports",
    sampling_rate=0.5,
    feedback_types=("edit",),
    thresholds=TriggerSpec(drift=0.1),
    curation=CurationSpec(limit=5),
)
SUPERVISED = Experiment(
    id="says.everything-1",
    description="Every field: ü, 'quotes', and\nlines.",
    owner="me",
    tags=("a", "no"),
    metadata={"ticket": 7, "nested": {"list": [1, 2.0, "1e-4"], "empty": {}}},
    experiment_type="comparison",
    model=ModelRef(id="owner/model", revision="abc", options={"dtype": "float32"}),
    dataset=attrs.evolve(HELD_OUT, split="train"),
    backend=BackendRef(id="tinker", options={"request_seconds": 60}, fallback=BackendRef(id="torch")),
    evaluator=EvaluatorRef(provider="scorers", options={"score": "f1"}),
    training=TRAINING,
    pipeline=(StageDef(name="load", options={"rows": 5}, enabled=False), StageDef(name="train")),
    reliability=RELIABILITY,
    deployment=DeploymentSpec(
        id="adder-live",
        model="adder",
        version="3",
        stage="production",
        strategy="canary",
        traffic=0.05,
        metadata={"region": "eu"},
    ),
    feedback=FEEDBACK,
    outputs=(OutputSpec(name="report", formats=("html", "json"), path="reports", options={"title": "t"}),),
    baseline="other",
    seed=11,
    created_at=datetime(2026, 1, 31, 12, 30, 15, 250, tzinfo=timezone(timedelta(hours=5, minutes=30))),
)
PERCENTILE = attrs.evolve(RELIABILITY, hedging=HedgingSpec(percentile=90.0))
EVERYTHING = {
    "supervised": SUPERVISED,
    "preference": attrs.evolve(
        SUPERVISED,
        training=PREFERENCE,
        reliability=PERCENTILE,
        outputs=(OutputSpec(name="shown", sink="stdout"),),
    ),
    "reinforcement": attrs.evolve(SUPERVISED, training=REINFORCEMENT),
    "distillation": attrs.evolve(SUPERVISED, training=DISTILLATION),
    "feedback_loop": attrs.evolve(
        SUPERVISED, training=LOOP, feedback=attrs.evolve(FEEDBACK, thresholds=None, curation=None)
    ),
}
