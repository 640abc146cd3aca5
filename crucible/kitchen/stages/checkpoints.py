"""Saving: checkpoints that training goes on from, and final weights that sampling reads."""

from typing import Never, TypeVar

import attrs

from crucible.effects import Do, Eff, attempt, perform, tell
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.context import Context
from crucible.kitchen.kept import keep
from crucible.kitchen.stage import generic_stage
from crucible.kitchen.stages.positions import METHOD, PLACE, checkpoint_name
from crucible.kitchen.states import TrainingState
from crucible.telemetry.events import ArtifactSaved, CheckpointSaved
from crucible.train.errors import TrainError
from crucible.train.ports import TrainingClient
from crucible.train.types import TrainingSession

S = TypeVar("S", bound=TrainingState[TrainingConfig])


def is_due(step: int, *, before: int, every: int) -> bool:
    """Tell whether something that happens every `every` optimizer steps fell due in the update from `before` to `step`.

    An update may take several steps; 0 means never.

    >>> [step for step in range(1, 7) if is_due(step, before=step - 1, every=3)], is_due(6, before=5, every=0)
    ([3, 6], False)
    >>> is_due(8, before=4, every=5)
    True
    """
    return every > 0 and step // every > before // every


@generic_stage
def save_checkpoint(context: Context[S]) -> Do[TrainError, TrainingClient, Context[S]]:
    """Save weights, optimizer and random state under the number of the step, with all that the run adds up."""
    state, name = context.state, checkpoint_name(context.state)
    metadata = {**keep(state), PLACE: name, METHOD: state.config.method}
    saved = yield from perform(TrainingClient.save_checkpoint, state.session, name, metadata=metadata)
    checkpoint = attrs.evolve(saved, step=state.step)  # a backend that keeps no metadata counts from the resume
    yield from tell(CheckpointSaved(step=checkpoint.step, path=checkpoint.path))
    return context.to(attrs.evolve(state, checkpoint=checkpoint))


@generic_stage
def save_final_weights(context: Context[S]) -> Do[TrainError, TrainingClient, Context[S]]:
    """Save the trained weights for sampling: the artifact of the run."""
    state = context.state
    weights = yield from perform(TrainingClient.save_sampler_weights, state.session, "final_weights")
    yield from tell(ArtifactSaved(kind="sampler_weights", path=weights.path, step=state.step))
    return context.to(attrs.evolve(state, final_weights=weights))


@generic_stage
def cleanup(context: Context[S]) -> Do[TrainError, TrainingClient, Context[S]]:
    """Close the training session."""
    yield from perform(TrainingClient.close_session, context.state.session)
    return context


def close_quietly(session: TrainingSession) -> Eff[object, Never, TrainingClient]:
    """Close a session on the way out of a failure, which a failing close must not hide."""
    return attempt(perform(TrainingClient.close_session, session))
