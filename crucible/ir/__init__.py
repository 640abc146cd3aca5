"""Experiments as data: specs that are checked as a whole, written to files and read back.

Needs the extra `specs` to read and write files; the specs themselves need nothing.
"""

from crucible.ir.experiment import Experiment, ExperimentType, TrainingSpec
from crucible.ir.on_policy import (
    AggregationSpec,
    AlgorithmSpec,
    DistillationSpec,
    EnvironmentSpec,
    ReinforcementSpec,
    RolloutLimitsSpec,
    TeacherSpec,
)
from crucible.ir.problems import InvalidSpec, Problem
from crucible.ir.refs import BackendRef, DatasetRef, EvaluatorRef, ModelRef, OutputSpec, StageDef
from crucible.ir.reliability import (
    BudgetSpec,
    CircuitBreakerSpec,
    DeadlineSpec,
    EnsembleSpec,
    FairnessSpec,
    GuardrailSpec,
    HedgingSpec,
    RateLimitSpec,
    ReliabilitySpec,
    RetrySpec,
    StatsSpec,
)
from crucible.ir.serving import CurationSpec, DeploymentSpec, ExportSpec, FeedbackLoopSpec, FeedbackSpec, TriggerSpec
from crucible.ir.training import AdamSpec, EvaluationSpec, LoraSpec, PreferenceSpec, SupervisedSpec

__all__ = [
    "AdamSpec",
    "AggregationSpec",
    "AlgorithmSpec",
    "BackendRef",
    "BudgetSpec",
    "CircuitBreakerSpec",
    "CurationSpec",
    "DatasetRef",
    "DeadlineSpec",
    "DeploymentSpec",
    "DistillationSpec",
    "EnsembleSpec",
    "EnvironmentSpec",
    "EvaluationSpec",
    "EvaluatorRef",
    "Experiment",
    "ExperimentType",
    "ExportSpec",
    "FairnessSpec",
    "FeedbackLoopSpec",
    "FeedbackSpec",
    "GuardrailSpec",
    "HedgingSpec",
    "InvalidSpec",
    "LoraSpec",
    "ModelRef",
    "OutputSpec",
    "PreferenceSpec",
    "Problem",
    "RateLimitSpec",
    "ReinforcementSpec",
    "ReliabilitySpec",
    "RetrySpec",
    "RolloutLimitsSpec",
    "StageDef",
    "StatsSpec",
    "SupervisedSpec",
    "TeacherSpec",
    "TrainingSpec",
    "TriggerSpec",
]
