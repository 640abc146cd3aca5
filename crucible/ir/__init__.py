"""Experiments as data: specs that are checked as a whole, written to files and read back.

Needs the extra `specs` to read and write files; the specs themselves need nothing.
"""

from crucible.ir.builder import ExperimentBuilder, experiment
from crucible.ir.check import checked, problems_of
from crucible.ir.codec import decode, encode
from crucible.ir.experiment import Experiment, ExperimentType, TrainingSpec
from crucible.ir.files import dumps, load, loads, save
from crucible.ir.fingerprint import NOT_COUNTED, fingerprint
from crucible.ir.migrations import MIGRATIONS, VERSION
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
from crucible.ir.schema import json_schema
from crucible.ir.serving import CurationSpec, DeploymentSpec, ExportSpec, FeedbackLoopSpec, FeedbackSpec, TriggerSpec
from crucible.ir.texts import Format
from crucible.ir.training import AdamSpec, EvaluationSpec, LoraSpec, PreferenceSpec, SupervisedSpec

__all__ = [
    "MIGRATIONS",
    "NOT_COUNTED",
    "VERSION",
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
    "ExperimentBuilder",
    "ExperimentType",
    "ExportSpec",
    "FairnessSpec",
    "FeedbackLoopSpec",
    "FeedbackSpec",
    "Format",
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
    "checked",
    "decode",
    "dumps",
    "encode",
    "experiment",
    "fingerprint",
    "json_schema",
    "load",
    "loads",
    "problems_of",
    "save",
]
