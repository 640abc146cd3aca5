"""How every training workflow begins: rows, a session, a tokenizer, a schedule."""

from collections.abc import Sequence
from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, do, from_result, perform, tell
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.checkpoints import close_quietly
from crucible.kitchen.states import Loaded, Opened, Optimization, Tokenized
from crucible.telemetry.events import BackendProbed, DatasetLoaded, RunWarned
from crucible.train.algorithms.schedules import Schedule
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.needs import unmet
from crucible.train.ports import DatasetStore, TrainingClient
from crucible.train.questions import PromptRules
from crucible.train.types import Capabilities, Dataset, LossFn, Row, TrainingSession

C = TypeVar("C", bound=TrainingConfig)
_LEFT_OF_THE_PEAK = {"exponential": 0.01}  # it never reaches 0


@generic_stage
def load_dataset(context: Context[C]) -> Do[TrainError, DatasetStore, Context[Loaded[C]]]:
    """Read the training rows. No rows is an error."""
    config = context.state
    dataset = yield from perform(DatasetStore.load_dataset, config.dataset)
    if config.num_rows is not None:
        dataset = yield from perform(DatasetStore.take, dataset, config.num_rows)
    rows = yield from perform(DatasetStore.read_rows, dataset)
    yield from from_result(_not_empty(rows, dataset))
    yield from tell(DatasetLoaded(dataset=dataset.name, split=dataset.split, num_rows=len(rows)))
    return context.to(Loaded(config=config, rows=rows))


def _close(context: Context[Opened[TrainingConfig]]) -> Eff[object, Never, TrainingClient]:
    return close_quietly(context.state.session)


@generic_stage(rollback=_close)
def init_session(context: Context[Loaded[C]]) -> Do[TrainError, TrainingClient, Context[Opened[C]]]:
    """Open a training session, fresh or from a checkpoint; it is closed again when anything after it fails.

    What the run needs of the backend is in the request. A backend that was probed for it is told of, and one that lacks
    something is an error here, before the first step.
    """
    config, rows = context.state.config, context.state.rows
    wanted = attrs.evolve(config.session, needs=tuple(dict.fromkeys((*config.needs, *config.session.needs))))
    if config.resume_from is not None:
        session = yield from perform(TrainingClient.restore_session, wanted, config.resume_from)
    elif config.start_from is not None:
        session = yield from perform(TrainingClient.restore_session, wanted, config.start_from, with_optimizer=False)
    else:
        session = yield from perform(TrainingClient.start_session, wanted)
    if session.capabilities.known_by != "declared":
        yield from tell(backend_probed(session.capabilities))
    missing = unmet(wanted.needs, session.capabilities)
    if missing is not None:
        yield from close_quietly(session)
        yield from from_result(Failure(missing))
    return context.to(Opened(config=config, rows=rows, session=session))


def backend_probed(found: Capabilities) -> BackendProbed:
    """Tell what a probe found."""
    return BackendProbed(
        backend=found.backend,
        known_by=found.known_by,
        loss_reduction=found.loss_reduction,
        losses_are_sums=found.losses_are_sums,
        negative_weights=found.negative_weights,
        custom_losses=found.has("custom_losses"),
        prompt_logprobs=found.prompt_logprobs,
        top_logprobs=found.top_logprobs,
        idempotent_submit=found.idempotent_submit,
        num_requests=found.num_requests,
        probe_seconds=found.seconds,
        notes="; ".join(found.notes),
    )


@generic_stage
def init_tokenizer(context: Context[Opened[C]]) -> Do[TrainError, TrainingClient, Context[Tokenized[C]]]:
    """Fetch the model's tokenizer."""
    state = context.state
    tokenizer = yield from perform(TrainingClient.get_tokenizer, state.session)
    return context.to(Tokenized(config=state.config, rows=state.rows, session=state.session, tokenizer=tokenizer))


def optimization_of(config: TrainingConfig, *, total_steps: int, loss_fn: LossFn = "cross_entropy") -> Optimization:
    """Lay out the schedule of a run of `total_steps` optimizer steps."""
    schedule = Schedule(
        kind=config.schedule,
        peak=config.learning_rate,
        warmup_steps=config.warmup_steps,
        total_steps=total_steps,
        final_fraction=_LEFT_OF_THE_PEAK.get(config.schedule, 0.0),
    )
    return Optimization(schedule=schedule, adam=config.adam, loss_fn=loss_fn)


@do
def laid_out(config: TrainingConfig, *, total_steps: int) -> Do[Never, Never, Optimization]:
    """Lay out the schedule as `optimization_of` does, and tell where it does not come to what was asked for."""
    if config.warmup_steps > total_steps:
        problem = f"warmup_steps is {config.warmup_steps}, and the run has {total_steps} steps: the learning rate never gets there"
        yield from tell(RunWarned(problem=f"{problem}; lower warmup_steps"))
    for name, never in (("save_every", "saves no checkpoint on the way"), ("eval_every", "is not measured on the way")):
        steps: int = getattr(config, name)
        if steps > total_steps:
            yield from tell(
                RunWarned(problem=f"{name} is {steps}, and the run has {total_steps} steps: it {never}; lower {name}")
            )
    return optimization_of(config, total_steps=total_steps)


def length_limit(config: TrainingConfig, session: TrainingSession) -> Result[int, TrainError]:
    """Give the longest example in tokens: what the configuration says, or what the model takes.

    Fails: InvalidRequest when the configuration asks for more than the model takes.
    """
    limit = session.max_length
    if config.max_length is not None and config.max_length > limit:
        message = f"max_length {config.max_length} is more than {session.model} takes"
        return Failure(InvalidRequest(message=message, fix=f"set it to at most {limit}"))
    return Success(config.max_length or limit)


def prompt_rules(
    config: TrainingConfig, session: TrainingSession, *, trained: int, answered: int
) -> Result[PromptRules | None, TrainError]:
    """Say how long prompts may be; nothing where the configuration does not: then the backend refuses what it cannot take.

    Args:
        config: `max_length` and `truncate`.
        session: the model's own limit.
        trained: tokens of an answer that is trained on: together with its prompt it is one example.
        answered: tokens of an answer that the model is to give, trained on or not.

    Fails: InvalidRequest when the configuration asks for more than the model takes, or leaves a prompt no room.
    """
    if config.max_length is None and not config.truncate:
        return Success(None)

    def rules(limit: int) -> Result[PromptRules, TrainError]:
        room = min(limit - trained, session.max_length - answered)
        reason = f": max_length is {limit}" + (f", less max_tokens {trained}" if trained else "")
        if room >= 1:
            return Success(PromptRules(max_prompt_tokens=room, truncate=config.truncate, reason=reason))
        message = f"answers of {answered} tokens leave no room for a prompt{reason}"
        return Failure(InvalidRequest(message=message, fix="raise max_length, or lower max_tokens"))

    return length_limit(config, session).bind(rules)


def _not_empty(rows: Sequence[Row], dataset: Dataset) -> Result[None, TrainError]:
    if rows:
        return Success(None)
    fix = "check the split and num_rows"
    return Failure(InvalidRequest(message=f"dataset {dataset.name!r}, split {dataset.split!r}, has no rows", fix=fix))
