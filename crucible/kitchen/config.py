"""What every training run is configured with; each workflow adds its own fields."""

from collections.abc import Iterator, Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.fields import ABOVE_0, AT_LEAST_0, AT_LEAST_1, NOT_EMPTY, Limits, checked, within
from crucible.train.algorithms.schedules import ScheduleKind
from crucible.train.errors import InvalidRequest
from crucible.train.types import AdamParams, DatasetConfig, Feature, SessionConfig


@attrs.frozen(kw_only=True, field_transformer=checked)
class EvaluationConfig:
    """How to measure the model on held-out rows: greedy answers to `num_examples` prompts, judged by the Evaluator."""

    dataset: DatasetConfig
    num_examples: int = attrs.field(default=100, metadata=AT_LEAST_1)
    max_tokens: int = attrs.field(default=64, metadata=AT_LEAST_1)
    batch_size: int = attrs.field(default=50, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class Reference:
    """A policy to hold another one against: these sampler weights, or (None) the weights with which training began."""

    weights_path: str | None = None

    def said(self, start: str | None) -> str:
        """Say which it is, of a training that began with the weights of the checkpoint `start`, None for none.

        >>> Reference().said(None)
        'the model without adapters, with which training begins'
        """
        if self.weights_path is not None:
            return f"the sampler weights {self.weights_path} (reference_path)"
        begun = "the model without adapters" if start is None else f"the weights of the checkpoint {start}"
        return f"{begun}, with which training begins"


@attrs.frozen(kw_only=True, field_transformer=checked)
class TrainingConfig:
    """What every training run is made of. Steps count optimizer steps.

    Args:
        session: model and adapters.
        dataset: the rows to train on; `num_rows` takes the first so many.
        epochs: passes over the rows.
        batch_size: rows in one optimizer step.
        learning_rate: peak of the schedule.
        schedule: how it goes down after `warmup_steps`: to 0, but for `constant`; `exponential` to a hundredth of the peak.
        adam: everything else of the optimizer.
        max_length: longest example in tokens, the sampled answer of a run that samples included; None for the model's limit.
            A longer one is an error that names its row. It holds for the prompts of `evaluation` too, without the answers.
        truncate: cut a longer example instead: one that is trained on as it is written at its end, a prompt that is to be
            answered at its beginning.
        seed: of the order of the rows.
        save_every: steps between checkpoints, 0 for none on the way.
        eval_every: steps between evaluations, besides those before and after training.
        evaluation: how to measure, None not to.
        resume_from: path of a checkpoint of the same run: it goes on there. The rows, `batch_size` and `seed` must be the same.
        start_from: path of a checkpoint whose weights to begin with; everything else begins anew.
        register_as: name under which the registry gets the trained weights, None not to.
    """

    session: SessionConfig
    dataset: DatasetConfig
    num_rows: int | None = attrs.field(default=None, metadata=AT_LEAST_1)
    epochs: int = attrs.field(default=1, metadata=AT_LEAST_1)
    batch_size: int = attrs.field(default=16, metadata=AT_LEAST_1)
    learning_rate: float = attrs.field(default=2e-4, metadata=ABOVE_0)
    schedule: ScheduleKind = "linear"
    warmup_steps: int = attrs.field(default=0, metadata=AT_LEAST_0)
    adam: AdamParams = AdamParams(grad_clip_norm=1.0)
    max_length: int | None = attrs.field(default=None, metadata=within(Limits(at_least=2)))
    truncate: bool = False
    seed: int = 0
    save_every: int = attrs.field(default=0, metadata=AT_LEAST_0)
    eval_every: int = attrs.field(default=0, metadata=AT_LEAST_0)
    evaluation: EvaluationConfig | None = None
    resume_from: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    start_from: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    register_as: str | None = attrs.field(default=None, metadata=NOT_EMPTY)

    @property
    def is_measured(self) -> bool:
        """Whether the run measures itself on something held out."""
        return self.evaluation is not None

    @property
    def method(self) -> str:
        """Name how the run trains: a checkpoint of another method holds a place in another training.

        >>> TrainingConfig(session=SessionConfig(model="m"), dataset=DatasetConfig(name="d")).method
        'training'
        """
        return type(self).__name__.removesuffix("Config").lower()

    @property
    def needs(self) -> tuple[Feature, ...]:
        """What the run relies on at its backend; a subclass says what it does differently."""
        return ("cross_entropy",)

    def reference(self) -> Reference | None:
        """Give the policy that the run is held against; None where it is held against none."""
        return None

    def problems(self) -> Sequence[str]:
        """Name what makes this configuration impossible or its measurements worthless."""
        return (*self.impossible(), *self.not_held_out())

    def not_held_out(self) -> Sequence[str]:
        """Name what the run measures itself on although it was trained on."""
        if self.evaluation is not None and self.evaluation.dataset == self.dataset:
            return ("evaluation.dataset is the training dataset and split: hold out another split",)
        return ()

    def impossible(self) -> Sequence[str]:
        """Name what no run can do, and what would do nothing; a subclass adds what its own fields can get wrong."""
        problems, lora = [], self.session.lora
        if not (lora.train_mlp or lora.train_attn or lora.train_unembed):
            problems.append("session.lora gives no layer an adapter: set train_mlp, train_attn or train_unembed")
        if self.adam.learning_rate != AdamParams().learning_rate:
            problems.append(
                f"adam.learning_rate is {self.adam.learning_rate}, but the schedule gives each step its own: set learning_rate"
            )
        if self.dataset.streaming and self.num_rows is None:
            problems.append(
                "dataset.streaming is on and num_rows is not given: a run keeps its rows, so a stream is read to the end; "
                "give num_rows, or leave streaming out"
            )
        if self.eval_every and not self.is_measured:
            problems.append(
                f"eval_every is {self.eval_every} but there is no evaluation: give one, or set eval_every to 0"
            )
        if self.start_from is not None and self.resume_from is not None:
            problems.append("start_from and resume_from are both given: keep one")
        return tuple(problems)


def said_reference(config: object) -> str | None:
    """Say what a run with this configuration is held against, as far as that is known before; None for nothing."""
    reference = config.reference() if isinstance(config, TrainingConfig) else None
    if not isinstance(config, TrainingConfig) or reference is None:
        return None
    if config.resume_from is not None and reference.weights_path is None:
        return f"that of the run that saved {config.resume_from}, in which it is kept"
    return reference.said(config.start_from)


def unread(config: TrainingConfig, *names: str, because: str) -> Iterator[str]:
    """Name the fields that differ from their defaults although nothing would read them."""
    for field in attrs.fields(type(config)):
        if field.name in names and getattr(config, field.name) != field.default:
            value = getattr(config, field.name)
            yield f"{field.name} is {value}, and {because}: leave it out"


def possible(config: TrainingConfig) -> Result[None, InvalidRequest]:
    """Let a configuration through that can be run, and of which every option does something.

    Fails: InvalidRequest with all that is wrong.
    """
    return refused(config.impossible())


def refused(problems: Sequence[str]) -> Result[None, InvalidRequest]:
    """Make the error of all problems of a configuration, where there are any."""
    if not problems:
        return Success(None)
    return Failure(InvalidRequest(message="the configuration cannot be run: " + "; ".join(problems)))


def problems_of(config: TrainingConfig) -> Sequence[str]:
    """Name what makes a configuration impossible, each with the field and the fix; nothing when it can be run.

    >>> problems_of(TrainingConfig(session=SessionConfig(model="m"), dataset=DatasetConfig(name="d"), eval_every=5))
    ('eval_every is 5 but there is no evaluation: give one, or set eval_every to 0',)
    """
    return config.problems()
