"""What a run tells: a closed union of events, each with its name, its measurements and its units."""

from typing import ClassVar, TypeAlias

import attrs

_PREFIX = "crucible_kitchen"


@attrs.frozen(kw_only=True)
class RunOpened:
    """A process began, or went on, to write a run: the run's `writer`-th, counted from 0."""

    NAME: ClassVar[str] = f"{_PREFIX}.run.opened"
    writer: int


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
class EffectPerformed:
    """A port was called: by which operation (`TrainingClient.optim_step`), for how long, and its error, None without one."""

    NAME: ClassVar[str] = f"{_PREFIX}.effect.performed"
    effect: str
    seconds: float
    error: str | None = None


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
class PreferenceStep:
    """An optimizer step on pairs: rewards in nats times beta, `accuracy` the share of pairs ranked as they should be."""

    NAME: ClassVar[str] = f"{_PREFIX}.dpo.step"
    METRICS: ClassVar[str] = "preference/"
    step: int
    metrics: dict[str, float]
    num_pairs: int


@attrs.frozen(kw_only=True)
class PreferencesEvaluated:
    """Held-out pairs were ranked by the weights as they are: margin and accuracy as in `PreferenceStep`."""

    NAME: ClassVar[str] = f"{_PREFIX}.dpo.eval"
    METRICS: ClassVar[str] = "held_out/"
    step: int
    metrics: dict[str, float]
    num_pairs: int


@attrs.frozen(kw_only=True)
class DistillationStep:
    """A step of distillation: `teacher_kl` is the mean KL to the teachers on sampled tokens, before the update.

    It is the reverse KL where the student samples, the forward one where it learns what the teachers would likeliest have said.
    """

    NAME: ClassVar[str] = f"{_PREFIX}.distillation.step"
    METRICS: ClassVar[str] = "distillation/"
    step: int
    metrics: dict[str, float]
    num_tokens: int


@attrs.frozen(kw_only=True)
class DistillationEvaluated:
    """The student answered held-out prompts: `teacher_kl` as in `DistillationStep`, of the weights as they are."""

    NAME: ClassVar[str] = f"{_PREFIX}.distillation.eval"
    METRICS: ClassVar[str] = "held_out/"
    step: int
    metrics: dict[str, float]
    num_prompts: int


@attrs.frozen(kw_only=True)
class RolloutCompleted:
    """A round of episodes: how many, how many failed, and their rewards."""

    NAME: ClassVar[str] = f"{_PREFIX}.rl.rollout_complete"
    METRICS: ClassVar[str] = "rollout/"
    step: int
    metrics: dict[str, float]
    num_trajectories: int
    num_failed: int


@attrs.frozen(kw_only=True)
class EnvironmentPlayed:
    """One environment of a round, by its place in it: its mean reward, what it measured, its episodes and those that failed."""

    NAME: ClassVar[str] = f"{_PREFIX}.rl.environment"
    step: int
    environment: int
    metrics: dict[str, float]
    num_trajectories: int
    num_failed: int


@attrs.frozen(kw_only=True)
class ReinforcementStep:
    """A round of reinforcement learning: rewards, KL between sampler and trainer, entropy (nats per token), the update."""

    NAME: ClassVar[str] = f"{_PREFIX}.rl.step"
    METRICS: ClassVar[str] = "rl/"
    step: int
    metrics: dict[str, float]
    num_tokens: int


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
class TriggersChecked:
    """A deployment was looked at for reasons to train again."""

    NAME: ClassVar[str] = f"{_PREFIX}.feedback.triggers_checked"
    deployment: str
    num_triggers: int
    kinds: str


@attrs.frozen(kw_only=True)
class FeedbackCurated:
    """Examples were chosen; `sources` counts them by where they come from."""

    NAME: ClassVar[str] = f"{_PREFIX}.feedback.data_curated"
    deployment: str
    num_examples: int
    sources: dict[str, int]


@attrs.frozen(kw_only=True)
class FeedbackExported:
    """Examples were written as a dataset."""

    NAME: ClassVar[str] = f"{_PREFIX}.feedback.data_exported"
    deployment: str
    path: str
    num_rows: int


@attrs.frozen(kw_only=True)
class BaselineUpdated:
    """Drift is measured from here on."""

    NAME: ClassVar[str] = f"{_PREFIX}.feedback.baseline_updated"
    deployment: str


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
    RunOpened
    | WorkflowStarted
    | WorkflowStopped
    | WorkflowFailed
    | StageStarted
    | StageStopped
    | StageFailed
    | EffectPerformed
    | DatasetLoaded
    | DatasetBuilt
    | TrainingStep
    | PreferenceStep
    | PreferencesEvaluated
    | DistillationStep
    | DistillationEvaluated
    | RolloutCompleted
    | EnvironmentPlayed
    | ReinforcementStep
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
