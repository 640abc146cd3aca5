"""What a run tells: a closed union of events, each with its name, its measurements and its units."""

from typing import ClassVar, TypeAlias

import attrs

_PREFIX = "crucible_kitchen"


@attrs.frozen(kw_only=True)
class WorkflowStarted:
    """A workflow began."""

    NAME: ClassVar[str] = f"{_PREFIX}.workflow.run.start"
    workflow: str


@attrs.frozen(kw_only=True)
class WorkflowStopped:
    """A workflow ended with its result."""

    NAME: ClassVar[str] = f"{_PREFIX}.workflow.run.stop"
    workflow: str


@attrs.frozen(kw_only=True)
class WorkflowFailed:
    """A workflow ended with an error or an exception."""

    NAME: ClassVar[str] = f"{_PREFIX}.workflow.run.exception"
    workflow: str
    error: str


@attrs.frozen(kw_only=True)
class StageStarted:
    """A stage began."""

    NAME: ClassVar[str] = f"{_PREFIX}.stage.run.start"
    stage: str


@attrs.frozen(kw_only=True)
class StageStopped:
    """A stage gave its context on."""

    NAME: ClassVar[str] = f"{_PREFIX}.stage.run.stop"
    stage: str


@attrs.frozen(kw_only=True)
class StageFailed:
    """A stage ended with an error or an exception."""

    NAME: ClassVar[str] = f"{_PREFIX}.stage.run.exception"
    stage: str
    error: str


@attrs.frozen(kw_only=True)
class DatasetLoaded:
    """Rows were found; `num_rows` is None where only reading to the end would tell."""

    NAME: ClassVar[str] = f"{_PREFIX}.dataset.load"
    dataset: str
    split: str
    num_rows: int | None


@attrs.frozen(kw_only=True)
class TrainingStep:
    """An optimizer step: mean loss in nats per trained token, gradient norm before clipping."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.step"
    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    num_tokens: int
    epoch: int


@attrs.frozen(kw_only=True)
class EpochCompleted:
    """All batches of an epoch were trained on."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.epoch"
    step: int
    epoch: int
    mean_loss: float


@attrs.frozen(kw_only=True)
class CheckpointSaved:
    """A training state was saved: it holds exactly `step` optimizer steps."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.checkpoint"
    step: int
    path: str


@attrs.frozen(kw_only=True)
class EvaluationCompleted:
    """Held-out examples were judged; `metrics` by name, each a fraction or in the unit that its name says."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.eval"
    step: int
    metrics: dict[str, float]
    num_examples: int


@attrs.frozen(kw_only=True)
class SampleShown:
    """A prompt and what the model answered."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.sample"
    step: int
    prompt: str
    answer: str
    expected: str


@attrs.frozen(kw_only=True)
class ArtifactSaved:
    """Something of lasting worth was written: trained weights, a report."""

    NAME: ClassVar[str] = f"{_PREFIX}.artifact.saved"
    kind: str
    path: str
    step: int


@attrs.frozen(kw_only=True)
class ModelRegistered:
    """A model version was entered in the registry."""

    NAME: ClassVar[str] = f"{_PREFIX}.model.registered"
    model_id: str
    version: str
    step: int


Event: TypeAlias = (
    WorkflowStarted
    | WorkflowStopped
    | WorkflowFailed
    | StageStarted
    | StageStopped
    | StageFailed
    | DatasetLoaded
    | TrainingStep
    | EpochCompleted
    | CheckpointSaved
    | EvaluationCompleted
    | SampleShown
    | ArtifactSaved
    | ModelRegistered
)
"""Every event a run of ours tells. Users may `tell` frozen attrs classes of their own with a `NAME`."""
