"""What training tells: data, steps, rounds, evaluations, checkpoints."""

from typing import ClassVar

import attrs

from crucible.telemetry.events._names import PREFIX


@attrs.frozen(kw_only=True)
class DatasetLoaded:
    """Rows were found; `num_rows` is None where only reading to the end would tell."""

    NAME: ClassVar[str] = f"{PREFIX}.dataset.load"
    dataset: str
    split: str
    num_rows: int | None


@attrs.frozen(kw_only=True)
class RunResumed:
    """Training goes on from a checkpoint, after `step` steps. `missing` names what it did not keep, which begins anew; mostly nothing."""

    NAME: ClassVar[str] = f"{PREFIX}.training.resume"
    step: int
    path: str
    missing: str


@attrs.frozen(kw_only=True)
class BackendProbed:
    """What the training backend can do was found out; None is what is not known. The fields are those of `Capabilities`.

    `num_requests` were sent for it, in `probe_seconds`; none when it is known from before (`known_by` is `cached`).
    """

    NAME: ClassVar[str] = f"{PREFIX}.backend.probe"
    backend: str
    known_by: str
    loss_reduction: str
    losses_are_sums: bool
    negative_weights: bool | None
    custom_losses: bool | None
    prompt_logprobs: bool | None
    top_logprobs: bool | None
    idempotent_submit: bool | None
    num_requests: int
    probe_seconds: float
    notes: str


@attrs.frozen(kw_only=True)
class ReferenceChosen:
    """The policy that the run is held against: the weights with which training began, unless others were named."""

    NAME: ClassVar[str] = f"{PREFIX}.training.reference"
    reference: str


@attrs.frozen(kw_only=True)
class DatasetBuilt:
    """Rows became training data: how many tokens are read and trained on in one epoch, and how many steps all take."""

    NAME: ClassVar[str] = f"{PREFIX}.dataset.built"
    num_examples: int
    num_tokens: int
    num_trained_tokens: int
    total_steps: int


@attrs.frozen(kw_only=True)
class TrainingStep:
    """An optimizer step: mean loss in nats per trained token, gradient norm before clipping (NaN: not known)."""

    NAME: ClassVar[str] = f"{PREFIX}.training.step"
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

    NAME: ClassVar[str] = f"{PREFIX}.dpo.step"
    METRICS: ClassVar[str] = "preference/"
    step: int
    metrics: dict[str, float]
    num_pairs: int


@attrs.frozen(kw_only=True)
class EqualPairs:
    """Pairs whose two answers are the same tokens were left out: of which data, how many, those only cut to be so, the first row."""

    NAME: ClassVar[str] = f"{PREFIX}.dpo.equal_pairs"
    dataset: str
    split: str
    num_equal: int
    num_cut: int
    num_pairs: int
    row: int


@attrs.frozen(kw_only=True)
class PreferencesEvaluated:
    """Held-out pairs were ranked by the weights as they are: margin and accuracy as in `PreferenceStep`."""

    NAME: ClassVar[str] = f"{PREFIX}.dpo.eval"
    METRICS: ClassVar[str] = "held_out/"
    step: int
    metrics: dict[str, float]
    num_pairs: int


@attrs.frozen(kw_only=True)
class DistillationStep:
    """A step of distillation: `teacher_kl` is the mean KL to the teachers on sampled tokens, before the update.

    It is the reverse KL where the student samples, the forward one where it learns what the teachers would likeliest have said.
    """

    NAME: ClassVar[str] = f"{PREFIX}.distillation.step"
    METRICS: ClassVar[str] = "distillation/"
    step: int
    metrics: dict[str, float]
    num_tokens: int


@attrs.frozen(kw_only=True)
class DistillationEvaluated:
    """The student answered held-out prompts: `teacher_kl` as in `DistillationStep`, of the weights as they are."""

    NAME: ClassVar[str] = f"{PREFIX}.distillation.eval"
    METRICS: ClassVar[str] = "held_out/"
    step: int
    metrics: dict[str, float]
    num_prompts: int


@attrs.frozen(kw_only=True)
class RolloutCompleted:
    """A round of episodes: how many, how many failed, and their rewards."""

    NAME: ClassVar[str] = f"{PREFIX}.rl.rollout_complete"
    METRICS: ClassVar[str] = "rollout/"
    step: int
    metrics: dict[str, float]
    num_trajectories: int
    num_failed: int


@attrs.frozen(kw_only=True)
class EnvironmentPlayed:
    """One environment of a round, by its place in it: its mean reward, what it measured, its episodes and those that failed."""

    NAME: ClassVar[str] = f"{PREFIX}.rl.environment"
    step: int
    environment: int
    metrics: dict[str, float]
    num_trajectories: int
    num_failed: int


@attrs.frozen(kw_only=True)
class EpisodesFailed:
    """Episodes of a round failed alike: how many, why the first one did, its row (index, `id` and a short view) and environment."""

    NAME: ClassVar[str] = f"{PREFIX}.rl.episodes_failed"
    step: int
    error: str
    num_failed: int
    row: int | None
    row_id: str
    environment: int
    shown: str


@attrs.frozen(kw_only=True)
class ReinforcementStep:
    """A round of reinforcement learning: rewards, gap and KL between sampler and trainer, entropy, the update."""

    NAME: ClassVar[str] = f"{PREFIX}.rl.step"
    METRICS: ClassVar[str] = "rl/"
    step: int
    metrics: dict[str, float]
    num_tokens: int


@attrs.frozen(kw_only=True)
class SamplerDiverged:
    """The sampler does not play the policy that is trained: by how much, the likely cause and the fix, told once in a run.

    Its numbers are those of the step of the round (`policy_metrics`).
    """

    NAME: ClassVar[str] = f"{PREFIX}.rl.sampler_diverged"
    step: int
    logprob_gap_sample_train: float
    kl_sample_train_v3: float
    problem: str


@attrs.frozen(kw_only=True)
class EpochCompleted:
    """All batches of an epoch were trained on."""

    NAME: ClassVar[str] = f"{PREFIX}.training.epoch"
    METRICS: ClassVar[str] = "epoch/"
    step: int
    epoch: int
    mean_loss: float


@attrs.frozen(kw_only=True)
class CheckpointSaved:
    """A training state was saved: it holds exactly `step` optimizer steps."""

    NAME: ClassVar[str] = f"{PREFIX}.training.checkpoint"
    step: int
    path: str


@attrs.frozen(kw_only=True)
class EvaluationCompleted:
    """Held-out examples were judged; `metrics` by name, each a fraction or in the unit that its name says."""

    NAME: ClassVar[str] = f"{PREFIX}.training.eval"
    METRICS: ClassVar[str] = "eval/"
    step: int
    metrics: dict[str, float]
    num_examples: int


@attrs.frozen(kw_only=True)
class SampleShown:
    """A prompt and what the model answered."""

    NAME: ClassVar[str] = f"{PREFIX}.training.sample"
    step: int
    prompt: str
    answer: str
    expected: str
