"""The reference of a run, a policy that its own is held against: by default the one with which training began.

Of a run that begins with fresh adapters that is the model itself. Of one that begins with a checkpoint's weights it is a copy of
them for sampling, which is kept as long as it is asked. A resumed run makes it again of the same checkpoint.
"""

from collections.abc import Callable
from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, attempt, bracket, do, fail, perform, pure, tell
from crucible.kitchen.config import Reference, TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.checkpoints import close_quietly
from crucible.kitchen.stages.positions import has_unknown_start
from crucible.kitchen.stages.samplers import with_sampler
from crucible.kitchen.states import TrainingState
from crucible.telemetry.events import ReferenceChosen
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import SamplerWeights, SamplingConfig, SamplingSession

A = TypeVar("A")
S = TypeVar("S", bound=TrainingState[TrainingConfig])

_NAME = "reference"


def reference_of(state: TrainingState[TrainingConfig]) -> SamplingConfig:
    """Give what to sample from for what the reference thinks."""
    return _sampled(state, state.reference)


def with_reference(
    state: TrainingState[TrainingConfig], use: Callable[[SamplingSession], Eff[A, TrainError, SamplingClient]]
) -> Eff[A, TrainError, TrainingClient | SamplingClient]:
    """Open a sampling session on the reference, use it, and leave nothing of it."""
    return bracket(_copy_of(state), lambda copy: with_sampler(_sampled(state, copy), use), _delete)


def _let_go(context: Context[TrainingState[TrainingConfig]]) -> Eff[object, Never, TrainingClient]:
    return _delete(context.state.reference)


@generic_stage(rollback=_let_go)
def hold_reference(context: Context[S]) -> Do[TrainError, TrainingClient, Context[S]]:
    """Find the reference, where the run needs one; copy it, where it is the weights of a checkpoint."""
    copy = yield from _copy_of(context.state)
    return context.to(attrs.evolve(context.state, reference=copy))


def let_go_of_reference(context: Context[S]) -> Eff[Context[S], Never, TrainingClient]:
    """Delete the copy of the reference: nobody asks it any more. A deletion that fails spoils nothing."""
    return _delete(context.state.reference).map(lambda _: context.to(attrs.evolve(context.state, reference=None)))


@do
def _copy_of(state: TrainingState[TrainingConfig]) -> Do[TrainError, TrainingClient, SamplerWeights | None]:
    """Copy the reference for sampling, where it is the weights of a checkpoint; say what it is."""
    start, given = state.started_from, state.reference_path
    if state.config.reference() is None:
        return None
    if has_unknown_start(state):
        yield from fail(_unknown(state))
    yield from tell(ReferenceChosen(reference=Reference(weights_path=given).said(start)))
    if given is not None or start is None:
        return None
    if state.config.resume_from is None and state.step == 0:  # the session still has them
        return (yield from perform(TrainingClient.save_sampler_weights, state.session, _NAME))
    return (yield from _copied(state.config, start))


def _sampled(state: TrainingState[TrainingConfig], copy: SamplerWeights | None) -> SamplingConfig:
    path = state.reference_path or (None if copy is None else copy.path)
    return SamplingConfig(model=state.config.session.model, weights_path=path)


def _delete(copy: SamplerWeights | None) -> Eff[object, Never, TrainingClient]:
    return pure(None) if copy is None else attempt(perform(TrainingClient.delete_sampler_weights, copy))


def _copied(config: TrainingConfig, start: str) -> Eff[SamplerWeights, TrainError, TrainingClient]:
    """Copy the weights of a checkpoint for sampling, through a session that is open for no longer."""
    return bracket(
        perform(TrainingClient.restore_session, config.session, start, with_optimizer=False).alt(_gone(start)),
        lambda session: perform(TrainingClient.save_sampler_weights, session, _NAME),
        close_quietly,
    )


def _gone(start: str) -> Callable[[TrainError], TrainError]:
    def named(error: TrainError) -> TrainError:
        if not isinstance(error, NotFound):
            return error
        fix = "this run began with its weights, and is held against them: put it back, or give reference_path"
        return NotFound(kind="checkpoint", name=start, fix=fix)

    return named


def _unknown(state: TrainingState[TrainingConfig]) -> InvalidRequest:
    path = state.config.resume_from
    message = f"the run that saved {path} is held against weights of which this backend did not keep the path"
    return InvalidRequest(
        message=message, fix="give them as reference_path: sampler weights, of what training began with"
    )
