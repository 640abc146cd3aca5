"""From the training of an experiment to the configuration that its workflow takes.

The fields of both have the same names. `tests/kitchen/compiling/test_configs.py` walks them, so that neither can have one that the
other lacks unnoticed.
"""

from collections.abc import Iterator
from typing import TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import InvalidField
from crucible.ir import (
    DatasetRef,
    DistillationSpec,
    EvaluationSpec,
    Experiment,
    FeedbackLoopSpec,
    PreferenceSpec,
    Problem,
    ReinforcementSpec,
    SupervisedSpec,
)
from crucible.ir.training import TrainingBase
from crucible.kitchen.compiling.algorithms import algorithm_of
from crucible.kitchen.config import EvaluationConfig, TrainingConfig
from crucible.kitchen.ports import CurationOptions, ExportOptions, TriggerThresholds
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.feedback import FeedbackConfig
from crucible.kitchen.stages.policy import OnPolicyConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.train.environments import RolloutLimits
from crucible.train.renderers import TrainOnWhat
from crucible.train.types import AdamParams, DatasetConfig, LoraConfig, SamplingConfig, SessionConfig

C = TypeVar("C", bound=TrainingConfig)
O = TypeVar("O", bound=OnPolicyConfig)  # noqa: E741  # on-policy

FEEDBACK = DatasetRef(name="feedback", provider="file")
"""What stands for the rows of a retraining: what the loop exports takes its place."""


def config_of(experiment: Experiment) -> Result[object, tuple[Problem, ...]]:
    """Make the configuration of an experiment; one without a training is its own.

    Fails: what the configuration finds wrong, with the place in the spec.
    """
    training = experiment.training
    if training is None:
        return Success(experiment)
    try:
        made = _made(experiment, training)
    except InvalidField as error:
        return Failure((error.problem.below("training"),))
    except (ValueError, TypeError) as error:
        return Failure((_placed(str(error), training),))
    found = made.problems()
    if isinstance(made, DistillationConfig):  # the spec itself says what its mode reads
        found = (*made.impossible_in_mode(), *made.not_held_out())
    problems = tuple(_placed(text, training) for text in found)
    return Failure(problems) if problems else Success(made)


def dataset_config(ref: DatasetRef) -> DatasetConfig:
    """Say which rows to load, as handlers take it."""
    return DatasetConfig(
        name=ref.name,
        split=ref.split,
        config=ref.config,
        revision=ref.revision,
        streaming=ref.streaming,
        options=dict(ref.options),
    )


def _made(
    experiment: Experiment,
    training: SupervisedSpec | PreferenceSpec | ReinforcementSpec | DistillationSpec | FeedbackLoopSpec,
) -> TrainingConfig | FeedbackConfig:
    rows = experiment.dataset or FEEDBACK
    match training:
        case SupervisedSpec():
            return _supervised(experiment, training, rows)
        case PreferenceSpec():
            return _preference(experiment, training, rows)
        case ReinforcementSpec():
            return _reinforcement(experiment, training, rows)
        case DistillationSpec():
            return _distillation(experiment, training, rows)
        case FeedbackLoopSpec():
            return _feedback(experiment, training)


def _supervised(experiment: Experiment, spec: SupervisedSpec, rows: DatasetRef) -> SupervisedConfig:
    plain = SupervisedConfig(
        session=_session(experiment, spec), dataset=dataset_config(rows), train_on=TrainOnWhat(spec.train_on)
    )
    return _with_shared(plain, experiment, spec, rows)


def _preference(experiment: Experiment, spec: PreferenceSpec, rows: DatasetRef) -> PreferenceConfig:
    plain = PreferenceConfig(
        session=_session(experiment, spec),
        dataset=dataset_config(rows),
        loss=spec.loss,
        beta=spec.beta,
        label_smoothing=spec.label_smoothing,
        reference_path=spec.reference_path,
        reference_batch=spec.reference_batch,
        held_out=None if spec.held_out is None else dataset_config(spec.held_out),
    )
    return _with_shared(plain, experiment, spec, rows)


def _reinforcement(experiment: Experiment, spec: ReinforcementSpec, rows: DatasetRef) -> ReinforcementConfig:
    plain = ReinforcementConfig(
        session=_session(experiment, spec),
        dataset=dataset_config(rows),
        algorithm=algorithm_of(spec.algorithm, max_tokens=spec.max_tokens),
        limits=RolloutLimits(max_turns=spec.limits.max_turns, max_prompt_tokens=spec.limits.max_prompt_tokens),
        kl_coef=spec.kl_coef,
        reference_path=spec.reference_path,
        reference_batch=spec.reference_batch,
        group_size=spec.group_size,
        max_staleness=spec.max_staleness,
        max_failed_share=spec.max_failed_share,
        max_failing_rounds=spec.max_failing_rounds,
    )
    return _with_sampling(_with_shared(plain, experiment, spec, rows), spec)


def _distillation(experiment: Experiment, spec: DistillationSpec, rows: DatasetRef) -> DistillationConfig:
    teachers = (SamplingConfig(model=each.model.id, weights_path=each.weights_path) for each in spec.teachers)
    plain = DistillationConfig(
        session=_session(experiment, spec),
        dataset=dataset_config(rows),
        teachers=tuple(teachers),
        mode="on_policy" if spec.mode == "on_policy" else "off_policy",
        kl_coef=spec.kl_coef,
        kl_discount=spec.kl_discount,
        teacher_batch=spec.teacher_batch,
        num_top=spec.num_top,
        tail=spec.tail,
        group_size=spec.group_size,
    )
    return _with_sampling(_with_shared(plain, experiment, spec, rows), spec)


def _feedback(experiment: Experiment, spec: FeedbackLoopSpec) -> FeedbackConfig:
    return FeedbackConfig(
        deployment_id=spec.deployment_id,
        export=ExportOptions(path=spec.export.path, format=spec.export.format),
        retraining=_supervised(experiment, spec.retraining, FEEDBACK),
        thresholds=TriggerThresholds(
            drift=spec.thresholds.drift, quality=spec.thresholds.quality, num_examples=spec.thresholds.num_examples
        ),
        curation=CurationOptions(
            limit=spec.curation.limit,
            sources=spec.curation.sources,
            min_score=spec.curation.min_score,
            include_trained=spec.curation.include_trained,
        ),
        min_examples=spec.min_examples,
    )


def _with_shared(config: C, experiment: Experiment, spec: TrainingBase, rows: DatasetRef) -> C:
    """Set what every training is configured with."""
    return attrs.evolve(
        config,
        num_rows=rows.num_rows,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        schedule=spec.schedule,
        warmup_steps=spec.warmup_steps,
        adam=AdamParams(
            beta1=spec.adam.beta1,
            beta2=spec.adam.beta2,
            eps=spec.adam.eps,
            weight_decay=spec.adam.weight_decay,
            grad_clip_norm=spec.adam.grad_clip_norm,
        ),
        max_length=spec.max_length,
        truncate=spec.truncate,
        seed=experiment.seed if spec.seed is None else spec.seed,
        save_every=spec.save_every,
        eval_every=spec.eval_every,
        evaluation=None if spec.evaluation is None else _evaluation(spec.evaluation),
        resume_from=spec.resume_from,
        start_from=spec.start_from,
        register_as=spec.register_as,
    )


def _with_sampling(config: O, spec: ReinforcementSpec | DistillationSpec) -> O:
    """Set what a training on its own samples is configured with."""
    return attrs.evolve(
        config,
        max_tokens=spec.max_tokens,
        temperature=spec.temperature,
        policy_epochs=spec.policy_epochs,
        num_minibatches=spec.num_minibatches,
    )


def _session(experiment: Experiment, spec: TrainingBase) -> SessionConfig:
    lora = LoraConfig(
        rank=spec.lora.rank,
        alpha=spec.lora.alpha,
        seed=experiment.seed if spec.lora.seed is None else spec.lora.seed,
        train_mlp=spec.lora.train_mlp,
        train_attn=spec.lora.train_attn,
        train_unembed=spec.lora.train_unembed,
    )
    return SessionConfig(model=experiment.model.id, lora=lora, metadata=dict(spec.session_metadata))


def _evaluation(spec: EvaluationSpec) -> EvaluationConfig:
    """Say how to measure; of a dataset of so many rows no more are asked."""
    return EvaluationConfig(
        dataset=dataset_config(spec.dataset),
        num_examples=min(spec.num_examples, spec.dataset.num_rows or spec.num_examples),
        max_tokens=spec.max_tokens,
        batch_size=spec.batch_size,
    )


def _placed(text: str, training: object) -> Problem:
    """Say what a configuration found wrong, at the field that it names."""
    found = next((name for name in _named(text, training)), "")
    path = f"training.{found}" if found else "training"
    message, _, fix = text.partition(": ")
    return Problem(path=path, message=message, fix=fix or "correct it")


def _named(text: str, training: object) -> Iterator[str]:
    kind: type = type(training)
    fields = {field.name for field in attrs.fields(kind)}
    for word in text.replace("'", " ").replace(":", " ").split():
        if word.split(".")[0] in fields:
            yield word
