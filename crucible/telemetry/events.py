"""What a run tells: a closed union of events, each with its name, its measurements and its units."""

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import attrs

from crucible.effects import Json

_PREFIX = "crucible_kitchen"
_NOT_MEASURED = frozenset({"step", "epoch"})


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
class DatasetBuilt:
    """Rows became training data: how many tokens are read and trained on in one epoch, and how many steps all take."""

    NAME: ClassVar[str] = f"{_PREFIX}.dataset.built"
    num_examples: int
    num_tokens: int
    num_trained_tokens: int
    total_steps: int


@attrs.frozen(kw_only=True)
class TrainingStep:
    """An optimizer step: mean loss in nats per trained token, gradient norm before clipping."""

    NAME: ClassVar[str] = f"{_PREFIX}.training.step"
    METRICS: ClassVar[str] = ""
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
    METRICS: ClassVar[str] = "epoch/"
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
    METRICS: ClassVar[str] = "eval/"
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
    | DatasetBuilt
    | TrainingStep
    | EpochCompleted
    | CheckpointSaved
    | EvaluationCompleted
    | SampleShown
    | ArtifactSaved
    | ModelRegistered
)
"""Every event a run of ours tells. Users may `tell` frozen attrs classes of their own with a `NAME`."""


def name_of(event: object) -> str:
    """Give the name under which an event is stored: its `NAME`, or its class's name."""
    name: str = getattr(event, "NAME", type(event).__name__)
    return name


def measurements_of(event: object) -> dict[str, float]:
    """Give the numbers that an event measured, by field; `step` and `epoch` say where, not what.

    >>> measurements_of(EpochCompleted(step=8, epoch=0, mean_loss=1.5))
    {'mean_loss': 1.5}
    """
    numbers: dict[str, float] = {}
    for name, value in _fields(event).items():
        if isinstance(value, Mapping):
            numbers |= {key: float(number) for key, number in value.items()}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _NOT_MEASURED:
            numbers[name] = value
    return numbers


def attributes_of(event: object) -> dict[str, Json]:
    """Give what else an event says: its texts, flags, step and epoch; anything else as text."""
    measured = measurements_of(event)
    return {
        name: value if value is None or isinstance(value, bool | int | float | str) else str(value)
        for name, value in _fields(event).items()
        if name not in measured and not isinstance(value, Mapping)
    }


def metrics_of(event: object) -> tuple[int, dict[str, float]] | None:
    """Give the step of an event and its metrics by name; None for an event that is no point of a series.

    >>> metrics_of(EvaluationCompleted(step=8, metrics={"accuracy": 0.5}, num_examples=4))
    (8, {'eval/accuracy': 0.5, 'eval/num_examples': 4})
    """
    prefix: str | None = getattr(event, "METRICS", None)
    step = _fields(event).get("step")
    if prefix is None or not isinstance(step, int):
        return None
    return step, {f"{prefix}{name}": value for name, value in measurements_of(event).items()}


def _fields(event: object) -> dict[str, object]:
    kind = type(event)
    return {field.name: getattr(event, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}
