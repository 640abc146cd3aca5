"""What a run tells: a closed union of events, each with its name, its measurements and its units."""

from typing import TypeAlias

from crucible.telemetry.events._feedback import (
    BaselineUpdated,
    FeedbackCurated,
    FeedbackExported,
    TriggersChecked,
)
from crucible.telemetry.events._runs import (
    ArtifactSaved,
    EffectPerformed,
    ModelRegistered,
    RunOpened,
    RunWarned,
    StageFailed,
    StageStarted,
    StageStopped,
    TelemetryRefused,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowStopped,
)
from crucible.telemetry.events._training import (
    BackendProbed,
    CheckpointSaved,
    DatasetBuilt,
    DatasetLoaded,
    DistillationEvaluated,
    DistillationStep,
    EnvironmentPlayed,
    EpisodesFailed,
    EpochCompleted,
    EqualPairs,
    EvaluationCompleted,
    PreferencesEvaluated,
    PreferenceStep,
    ReferenceChosen,
    ReinforcementStep,
    RolloutCompleted,
    RunResumed,
    SamplerDiverged,
    SampleShown,
    TrainingStep,
)

__all__ = [
    "ArtifactSaved",
    "BackendProbed",
    "BaselineUpdated",
    "CheckpointSaved",
    "DatasetBuilt",
    "DatasetLoaded",
    "DistillationEvaluated",
    "DistillationStep",
    "EffectPerformed",
    "EnvironmentPlayed",
    "EpisodesFailed",
    "EpochCompleted",
    "EqualPairs",
    "EvaluationCompleted",
    "Event",
    "FeedbackCurated",
    "FeedbackExported",
    "ModelRegistered",
    "PreferenceStep",
    "PreferencesEvaluated",
    "ReferenceChosen",
    "ReinforcementStep",
    "RolloutCompleted",
    "RunOpened",
    "RunResumed",
    "RunWarned",
    "SampleShown",
    "SamplerDiverged",
    "StageFailed",
    "StageStarted",
    "StageStopped",
    "TelemetryRefused",
    "TrainingStep",
    "TriggersChecked",
    "WorkflowFailed",
    "WorkflowStarted",
    "WorkflowStopped",
]

Event: TypeAlias = (
    RunOpened
    | WorkflowStarted
    | WorkflowStopped
    | WorkflowFailed
    | StageStarted
    | StageStopped
    | StageFailed
    | EffectPerformed
    | TelemetryRefused
    | BackendProbed
    | RunWarned
    | DatasetLoaded
    | RunResumed
    | ReferenceChosen
    | DatasetBuilt
    | TrainingStep
    | PreferenceStep
    | EqualPairs
    | PreferencesEvaluated
    | DistillationStep
    | DistillationEvaluated
    | RolloutCompleted
    | EnvironmentPlayed
    | EpisodesFailed
    | ReinforcementStep
    | SamplerDiverged
    | EpochCompleted
    | CheckpointSaved
    | EvaluationCompleted
    | SampleShown
    | TriggersChecked
    | FeedbackCurated
    | FeedbackExported
    | BaselineUpdated
    | ArtifactSaved
    | ModelRegistered
)
"""Every event a run of ours tells. Users may `tell` frozen attrs classes of their own with a `NAME`."""
