"""How a model is trained: what all methods share, supervised fine-tuning and preference learning.

The fields are those of the configurations in `crucible.kitchen`, under the same names and with the same defaults. Model,
rows and seed stand in the experiment, once for all.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.ir.problems import Problem
from crucible.ir.refs import DatasetRef
from crucible.ir.rules import ABOVE_0, AT_LEAST_0, AT_LEAST_1, NOT_EMPTY, Limits, rule, within

Schedule: TypeAlias = Literal["constant", "cosine", "exponential", "linear", "polynomial"]
TrainOn: TypeAlias = Literal[
    "last_assistant_message",
    "all_assistant_messages",
    "all_messages",
    "all_tokens",
    "all_user_and_system_messages",
    "customized",
]
PreferenceLoss: TypeAlias = Literal["bradley_terry", "dpo", "ipo", "kto", "orpo", "simpo"]
_DECAY = within(Limits(at_least=0, below=1))


@attrs.frozen(kw_only=True)
class LoraSpec:
    """Low-rank adapters: which layers get one, and of what rank; `seed` None is the experiment's."""

    rank: int = attrs.field(default=16, metadata=AT_LEAST_1)
    alpha: float = attrs.field(default=32.0, metadata=ABOVE_0)
    seed: int | None = None
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = False

    @rule("train_mlp", "train_attn", "train_unembed")
    def _trains_something(self) -> Iterator[Problem]:
        if not (self.train_mlp or self.train_attn or self.train_unembed):
            message = "no layer gets an adapter, so nothing would be trained"
            yield Problem(path="", message=message, fix="set train_mlp, train_attn or train_unembed to true")


@attrs.frozen(kw_only=True)
class AdamSpec:
    """Everything of AdamW but its learning rate; `grad_clip_norm` 0 is no clipping."""

    beta1: float = attrs.field(default=0.9, metadata=_DECAY)
    beta2: float = attrs.field(default=0.95, metadata=_DECAY)
    eps: float = attrs.field(default=1e-12, metadata=ABOVE_0)
    weight_decay: float = attrs.field(default=0.0, metadata=AT_LEAST_0)
    grad_clip_norm: float = attrs.field(default=1.0, metadata=AT_LEAST_0)


@attrs.frozen(kw_only=True)
class EvaluationSpec:
    """How to measure the model on held-out rows: greedy answers to `num_examples` prompts, which the evaluator judges."""

    dataset: DatasetRef
    num_examples: int = attrs.field(default=100, metadata=AT_LEAST_1)
    max_tokens: int = attrs.field(default=64, metadata=AT_LEAST_1)
    batch_size: int = attrs.field(default=50, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class TrainingBase:
    """What every training run is made of. Steps count optimizer steps.

    Args:
        lora: the adapters that are trained.
        epochs: passes over the rows.
        batch_size: rows in one optimizer step.
        learning_rate: peak of the schedule.
        schedule: how it goes down after `warmup_steps`.
        warmup_steps: steps in which it goes up.
        adam: everything else of the optimizer.
        max_length: longest example in tokens, None for the model's limit.
        truncate: whether a longer one is cut; otherwise it is an error.
        seed: of the order of the rows; None for the experiment's.
        save_every: steps between checkpoints, 0 for none on the way.
        eval_every: steps between evaluations, besides those before and after training.
        evaluation: how to measure, None not to.
        resume_from: path of a checkpoint of the same run: it goes on there.
        start_from: path of a checkpoint whose weights to begin with; everything else begins anew.
        register_as: name under which the registry gets the trained weights, None not to.
        session_metadata: what the backend keeps beside the session.
    """

    lora: LoraSpec = LoraSpec()
    epochs: int = attrs.field(default=1, metadata=AT_LEAST_1)
    batch_size: int = attrs.field(default=16, metadata=AT_LEAST_1)
    learning_rate: float = attrs.field(default=2e-4, metadata=ABOVE_0)
    schedule: Schedule = "linear"
    warmup_steps: int = attrs.field(default=0, metadata=AT_LEAST_0)
    adam: AdamSpec = AdamSpec()
    max_length: int | None = attrs.field(default=None, metadata=within(Limits(at_least=2)))
    truncate: bool = False
    seed: int | None = None
    save_every: int = attrs.field(default=0, metadata=AT_LEAST_0)
    eval_every: int = attrs.field(default=0, metadata=AT_LEAST_0)
    evaluation: EvaluationSpec | None = None
    resume_from: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    start_from: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    register_as: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    session_metadata: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def held_out_datasets(self) -> Mapping[str, DatasetRef]:
        """What the run measures itself on, by its path below the training."""
        return {} if self.evaluation is None else {"evaluation.dataset": self.evaluation.dataset}

    @rule("eval_every", "evaluation", "held_out")
    def _measures_on_something(self) -> Iterator[Problem]:
        if self.eval_every and not self.held_out_datasets:
            message = f"is {self.eval_every}, but there is nothing to measure on"
            yield Problem(path="eval_every", message=message, fix="give an evaluation, or set eval_every to 0")

    @rule("start_from", "resume_from")
    def _begins_at_one_place(self) -> Iterator[Problem]:
        if self.start_from is not None and self.resume_from is not None:
            message = "resume_from is given as well, and a run begins at one place"
            yield Problem(path="start_from", message=message, fix="keep one of the two")


@attrs.frozen(kw_only=True)
class SupervisedSpec(TrainingBase):
    """Supervised fine-tuning: which messages of a conversation it trains on."""

    method: Literal["supervised"] = attrs.field(default="supervised", init=False)
    train_on: TrainOn = "last_assistant_message"


@attrs.frozen(kw_only=True)
class PreferenceSpec(TrainingBase):
    """Preference learning on pairs of answers.

    Args:
        loss: which loss on pairs.
        beta: how strongly it holds to the reference.
        label_smoothing: of DPO: the share of labels that are wrong.
        reference_path: sampler weights of the reference policy; None is what training starts from.
        reference_batch: sequences in one request to the reference.
        held_out: rows of pairs to rank before, after and every `eval_every` steps, None not to.
    """

    method: Literal["preference"] = attrs.field(default="preference", init=False)
    loss: PreferenceLoss = "dpo"
    beta: float = attrs.field(default=0.1, metadata=ABOVE_0)
    label_smoothing: float = attrs.field(default=0.0, metadata=within(Limits(at_least=0, below=0.5)))
    reference_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    reference_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    held_out: DatasetRef | None = None

    @property
    def held_out_datasets(self) -> Mapping[str, DatasetRef]:
        """What the run measures itself on, by its path below the training."""
        measured = super().held_out_datasets
        return measured if self.held_out is None else {**measured, "held_out": self.held_out}

    @rule("loss", "label_smoothing")
    def _only_dpo_smooths(self) -> Iterator[Problem]:
        if self.label_smoothing and self.loss != "dpo":
            message = f"is for dpo, and the loss is {self.loss}"
            yield Problem(path="label_smoothing", message=message, fix="leave it out, or set loss to dpo")
