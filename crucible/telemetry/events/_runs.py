"""What every run tells: workflows, stages, calls, and what it leaves behind."""

from typing import ClassVar

import attrs

from crucible.telemetry.events._names import PREFIX


@attrs.frozen(kw_only=True)
class RunOpened:
    """A process began, or went on, to write a run: the run's `writer`-th, counted from 0."""

    NAME: ClassVar[str] = f"{PREFIX}.run.opened"
    writer: int


@attrs.frozen(kw_only=True)
class WorkflowStarted:
    """A workflow began."""

    NAME: ClassVar[str] = f"{PREFIX}.workflow.run.start"
    workflow: str


@attrs.frozen(kw_only=True)
class WorkflowStopped:
    """A workflow ended with its result."""

    NAME: ClassVar[str] = f"{PREFIX}.workflow.run.stop"
    workflow: str


@attrs.frozen(kw_only=True)
class WorkflowFailed:
    """A workflow ended with an error or an exception."""

    NAME: ClassVar[str] = f"{PREFIX}.workflow.run.exception"
    workflow: str
    error: str


@attrs.frozen(kw_only=True)
class StageStarted:
    """A stage began."""

    NAME: ClassVar[str] = f"{PREFIX}.stage.run.start"
    stage: str


@attrs.frozen(kw_only=True)
class StageStopped:
    """A stage gave its context on."""

    NAME: ClassVar[str] = f"{PREFIX}.stage.run.stop"
    stage: str


@attrs.frozen(kw_only=True)
class StageFailed:
    """A stage ended with an error or an exception."""

    NAME: ClassVar[str] = f"{PREFIX}.stage.run.exception"
    stage: str
    error: str


@attrs.frozen(kw_only=True)
class EffectPerformed:
    """A port was called: by which operation (`TrainingClient.optim_step`), for how long, and its error, None without one."""

    NAME: ClassVar[str] = f"{PREFIX}.effect.performed"
    effect: str
    seconds: float
    error: str | None = None


@attrs.frozen(kw_only=True)
class TelemetryRefused:
    """A store or a sink refused what it was offered, or a listener failed: why, told once; the run went on."""

    NAME: ClassVar[str] = f"{PREFIX}.telemetry.refused"
    problem: str


@attrs.frozen(kw_only=True)
class RunWarned:
    """The run goes on, but something that was asked for cannot be as it was meant: which, and what to do about it."""

    NAME: ClassVar[str] = f"{PREFIX}.run.warning"
    problem: str


@attrs.frozen(kw_only=True)
class ArtifactSaved:
    """Something of lasting worth was written: trained weights, a report."""

    NAME: ClassVar[str] = f"{PREFIX}.artifact.saved"
    kind: str
    path: str
    step: int


@attrs.frozen(kw_only=True)
class ModelRegistered:
    """A model version was entered in the registry."""

    NAME: ClassVar[str] = f"{PREFIX}.model.registered"
    model_id: str
    version: str
    step: int
