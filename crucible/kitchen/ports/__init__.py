"""The ports that the kitchen owns: each is defined here and nowhere else."""

from crucible.kitchen.ports.completer import Completer, Completion, CompletionOptions
from crucible.kitchen.ports.evaluator import (
    AnsweredRow,
    EvaluationReport,
    EvaluationRequest,
    Evaluator,
    expected_answers,
)
from crucible.kitchen.ports.feedback import (
    CURATION_SOURCES,
    CuratedExample,
    CurationOptions,
    CurationSource,
    DriftStatus,
    Exchange,
    ExportFormat,
    ExportOptions,
    FeedbackClient,
    FeedbackExport,
    QualityMetrics,
    Trigger,
    TriggerKind,
    TriggerThresholds,
)
from crucible.kitchen.ports.registry import ModelArtifact, ModelRegistry, RegisteredModel
from crucible.kitchen.ports.reports import ReportFormat, generate_report

__all__ = [
    "CURATION_SOURCES",
    "AnsweredRow",
    "Completer",
    "Completion",
    "CompletionOptions",
    "CuratedExample",
    "CurationOptions",
    "CurationSource",
    "DriftStatus",
    "EvaluationReport",
    "EvaluationRequest",
    "Evaluator",
    "Exchange",
    "ExportFormat",
    "ExportOptions",
    "FeedbackClient",
    "FeedbackExport",
    "ModelArtifact",
    "ModelRegistry",
    "QualityMetrics",
    "RegisteredModel",
    "ReportFormat",
    "Trigger",
    "TriggerKind",
    "TriggerThresholds",
    "expected_answers",
    "generate_report",
]
