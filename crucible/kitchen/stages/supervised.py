"""The stages of supervised fine-tuning, from a configuration to a run that is ready for its batches."""

from collections.abc import Sequence
from typing import Never

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, from_result, perform, tell
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.stage import pure_stage, stage
from crucible.kitchen.stages.checkpoints import close_quietly, is_due
from crucible.kitchen.states import Batched, Optimization, TrainingState
from crucible.telemetry.events import DatasetBuilt, DatasetLoaded
from crucible.train.algorithms.batching import epoch_batches, steps_per_epoch
from crucible.train.algorithms.schedules import Schedule, ScheduleKind
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import DatasetStore, TrainingClient
from crucible.train.renderers import ChatTemplateRenderer, TrainOnWhat
from crucible.train.supervised import DatumRules, build_data
from crucible.train.types import (
    AdamParams,
    Dataset,
    DatasetConfig,
    Datum,
    Row,
    SessionConfig,
    Tokenizer,
    TrainingSession,
)


@attrs.frozen(kw_only=True)
class EvaluationConfig:
    """How to measure the model on held-out rows: greedy answers to `num_examples` prompts, judged by the Evaluator."""

    dataset: DatasetConfig
    num_examples: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    max_tokens: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    batch_size: int = attrs.field(default=50, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class SupervisedConfig:
    """Everything that a supervised run is made of. Steps count optimizer steps; `save_every` 0 means only at the end.

    `learning_rate` is the peak of the schedule. `resume_from` is the path of a checkpoint of the same configuration.
    `register_as` is the name under which the registry gets the trained weights; None leaves them unregistered.
    """

    session: SessionConfig
    dataset: DatasetConfig
    num_rows: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    epochs: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    batch_size: int = attrs.field(default=16, validator=attrs.validators.ge(1))
    learning_rate: float = attrs.field(default=2e-4, validator=attrs.validators.gt(0))
    schedule: ScheduleKind = "linear"
    warmup_steps: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    adam: AdamParams = AdamParams(grad_clip_norm=1.0)
    train_on: TrainOnWhat = TrainOnWhat.LAST_ASSISTANT_MESSAGE
    max_length: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(2)))
    truncate: bool = False
    seed: int = 0
    save_every: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    eval_every: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    evaluation: EvaluationConfig | None = None
    resume_from: str | None = None
    register_as: str | None = None


@attrs.frozen(kw_only=True)
class Loaded:
    """The rows are read."""

    config: SupervisedConfig
    rows: tuple[Row, ...]


@attrs.frozen(kw_only=True)
class Opened:
    """A training session is open."""

    config: SupervisedConfig
    rows: tuple[Row, ...]
    session: TrainingSession


@attrs.frozen(kw_only=True)
class Tokenized:
    """The model's tokenizer is known."""

    config: SupervisedConfig
    rows: tuple[Row, ...]
    session: TrainingSession
    tokenizer: Tokenizer


@attrs.frozen(kw_only=True)
class SupervisedState(TrainingState):
    """The data is built: batches can be drawn."""

    config: SupervisedConfig
    data: tuple[Datum, ...]
    batches: tuple[tuple[int, ...], ...] = ()


@stage
def load_dataset(context: Context[SupervisedConfig]) -> Do[TrainError, DatasetStore, Context[Loaded]]:
    """Read the training rows. No rows is an error."""
    config = context.state
    dataset = yield from perform(DatasetStore.load_dataset, config.dataset)
    if config.num_rows is not None:
        dataset = yield from perform(DatasetStore.take, dataset, config.num_rows)
    rows = yield from perform(DatasetStore.read_rows, dataset)
    yield from from_result(_not_empty(rows, dataset))
    yield from tell(DatasetLoaded(dataset=dataset.name, split=dataset.split, num_rows=len(rows)))
    return context.to(Loaded(config=config, rows=rows))


def _close(context: Context[Opened]) -> Eff[object, Never, TrainingClient]:
    return close_quietly(context.state.session)


@stage(rollback=_close)
def init_session(context: Context[Loaded]) -> Do[TrainError, TrainingClient, Context[Opened]]:
    """Open a training session, fresh or from a checkpoint; it is closed again when anything after it fails."""
    config, rows = context.state.config, context.state.rows
    if config.resume_from is None:
        session = yield from perform(TrainingClient.start_session, config.session)
    else:
        session = yield from perform(TrainingClient.restore_session, config.session, config.resume_from)
    return context.to(Opened(config=config, rows=rows, session=session))


@stage
def init_tokenizer(context: Context[Opened]) -> Do[TrainError, TrainingClient, Context[Tokenized]]:
    """Fetch the model's tokenizer."""
    state = context.state
    tokenizer = yield from perform(TrainingClient.get_tokenizer, state.session)
    return context.to(Tokenized(config=state.config, rows=state.rows, session=state.session, tokenizer=tokenizer))


@stage
def build_supervised_dataset(context: Context[Tokenized]) -> Do[TrainError, Never, Context[SupervisedState]]:
    """Render the rows into training data and lay out the schedule; a row that cannot be used is named by its index."""
    state, config = context.state, context.state.config
    rules = yield from from_result(_rules(config, state.session))
    data = yield from from_result(build_data(state.rows, ChatTemplateRenderer(state.tokenizer), rules))
    total_steps = config.epochs * steps_per_epoch(len(data), batch_size=config.batch_size)
    schedule = Schedule(
        kind=config.schedule, peak=config.learning_rate, warmup_steps=config.warmup_steps, total_steps=total_steps
    )
    yield from tell(
        DatasetBuilt(
            num_examples=len(data),
            num_tokens=sum(len(datum.model_input) for datum in data),
            num_trained_tokens=sum(datum.num_loss_tokens for datum in data),
            total_steps=total_steps,
        )
    )
    return context.to(
        SupervisedState(
            config=config,
            session=state.session,
            tokenizer=state.tokenizer,
            optimization=Optimization(schedule=schedule, adam=config.adam),
            data=data,
            step=state.session.step,
            epoch=state.session.step // steps_per_epoch(len(data), batch_size=config.batch_size),
        )
    )


def epochs(state: SupervisedState) -> Sequence[int]:
    """The epochs that are left: a resumed run goes on in the epoch in which its checkpoint was made."""
    return range(state.epoch, state.config.epochs)


@pure_stage
def set_epoch(context: Context[Iteration[SupervisedState, int]]) -> Context[SupervisedState]:
    """Shuffle the data for this epoch: reproducibly, and differently in each."""
    state, epoch = context.state.state, context.state.item
    config = state.config
    batches = epoch_batches(len(state.data), batch_size=config.batch_size, epoch=epoch, seed=config.seed)
    left = batches[max(state.step - epoch * len(batches), 0) :]
    return context.to(attrs.evolve(state, epoch=epoch, batches=left))


def batches(state: SupervisedState) -> Sequence[tuple[int, ...]]:
    """The batches of this epoch that are left."""
    return state.batches


@pure_stage
def get_batch(context: Context[Iteration[SupervisedState, tuple[int, ...]]]) -> Context[Batched[SupervisedState]]:
    """Pick the data of this batch."""
    state, indices = context.state.state, context.state.item
    return context.to(Batched(base=state, batch=tuple(state.data[index] for index in indices)))


def should_checkpoint(state: SupervisedState) -> bool:
    """Tell whether a checkpoint is due after this step."""
    return is_due(state.step, every=state.config.save_every)


def should_evaluate(state: SupervisedState) -> bool:
    """Tell whether an evaluation is due after this step."""
    return is_measured(state) and is_due(state.step, every=state.config.eval_every)


def is_measured(state: SupervisedState) -> bool:
    """Tell whether the run measures itself on held-out rows."""
    return state.config.evaluation is not None


def is_registered(state: SupervisedState) -> bool:
    """Tell whether the trained weights are to be registered."""
    return state.config.register_as is not None


def problems_of(config: SupervisedConfig) -> Sequence[str]:
    """Name what makes a configuration impossible, each with the field and the fix; nothing when it can be run.

    >>> problems_of(SupervisedConfig(session=SessionConfig(model="m"), dataset=DatasetConfig(name="d"), eval_every=5))
    ('eval_every is 5 but there is no evaluation: give one, or set eval_every to 0',)
    """
    problems = []
    if config.eval_every and config.evaluation is None:
        problems.append(
            f"eval_every is {config.eval_every} but there is no evaluation: give one, or set eval_every to 0"
        )
    if config.evaluation is not None and config.evaluation.dataset == config.dataset:
        problems.append("evaluation.dataset is the training dataset and split: hold out another split")
    return tuple(problems)


def _not_empty(rows: Sequence[Row], dataset: Dataset) -> Result[None, TrainError]:
    if rows:
        return Success(None)
    fix = "check the split and num_rows"
    return Failure(InvalidRequest(message=f"dataset {dataset.name!r}, split {dataset.split!r}, has no rows", fix=fix))


def _rules(config: SupervisedConfig, session: TrainingSession) -> Result[DatumRules, TrainError]:
    limit = session.max_length
    if config.max_length is not None and config.max_length > limit:
        message = f"max_length {config.max_length} is more than {session.model} takes"
        return Failure(InvalidRequest(message=message, fix=f"set it to at most {limit}"))
    return Success(
        DatumRules(train_on=config.train_on, max_length=config.max_length or limit, truncate=config.truncate)
    )
