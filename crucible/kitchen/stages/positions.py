"""Where a run is in its data, and what it has added up, written into its checkpoints, and read back by the run that goes on from one.

Their metadata hold all of it. Their names say where they were made, for people, and for backends that keep no metadata.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Never, TypeVar

import attrs

from crucible.effects import Eff, Failure, Result, Success, from_result, tell
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.kept import names_kept, read_kept
from crucible.kitchen.states import Tokenized, TrainingState
from crucible.telemetry.events import RunResumed
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import Checkpoint, Row, TrainingSession

S = TypeVar("S", bound=TrainingState[TrainingConfig])

PLACE = "place"
"""Under this name the metadata of a checkpoint have the name that was given to it."""

METHOD = "method"
"""Under this name they have the method of the training that saved it."""

_NAME = re.compile(
    r"step_(?P<step>\d+)(?:_batch_(?P<batch>\d+))?_size_(?P<batch_size>\d+)_seed_(?P<seed>-?\d+)_data_(?P<data>[0-9a-f]+)"
    r"(?P<start>_started)?"
    r"(?:~\d+)?/?$"  # a store may have put a copy's number behind it, and a user a slash
)


@attrs.frozen(kw_only=True)
class Position:
    """Where a run begins or goes on, and in which data: `data_digest` tells one dataset from another."""

    step: int
    batches_done: int
    epoch: int
    data_digest: str


def position_of(state: Tokenized[TrainingConfig], *, num_examples: int) -> Result[Position, TrainError]:
    """Find where a run goes on: at the beginning, or where the checkpoint it resumes from was made.

    A checkpoint that was given another name, and has no metadata, says nothing but its step.

    Fails: InvalidRequest when the checkpoint is of another method, or its place is one in other batches: it names what was
        different.
    """
    config, found = state.config, digest_of(state.rows)
    made_by = state.session.metadata.get(METHOD, config.method)
    if config.resume_from is not None and made_by != config.method:
        message = (
            f"{config.resume_from} was saved by {made_by}, not by {config.method}: there is no such run to go on with"
        )
        return Failure(InvalidRequest(message=message, fix="begin with its weights: give start_from, not resume_from"))
    per_epoch = max(steps_per_epoch(num_examples, batch_size=config.batch_size), 1)
    named = _place_of(config, state.session)
    if config.resume_from is None or named is None:
        step = 0 if config.resume_from is None else state.session.step
        return Success(Position(step=step, batches_done=step, epoch=step // per_epoch, data_digest=found))
    changes = _changes(named, config, found)
    if changes:
        message = f"{config.resume_from} was made with {' and '.join(changes)}: its place is one in other batches"
        fix = "resume with what it was made with, or begin anew with its weights: give start_from, not resume_from"
        return Failure(InvalidRequest(message=message, fix=fix))
    step, done = int(named["step"]), int(named["batch"] or named["step"])
    return Success(Position(step=step, batches_done=done, epoch=done // per_epoch, data_digest=found))


def placed(state: S, before: Tokenized[TrainingConfig]) -> Eff[S, TrainError, Never]:
    """Put a run that is ready to begin where it goes on, with all that it had added up there.

    Fails: InvalidRequest when the checkpoint is of another method, its place is one in other batches, or its metadata cannot be
        read.
    """
    path, metadata, wanted = before.config.resume_from, before.session.metadata, before.config.reference()
    named = None if wanted is None else wanted.weights_path
    position = position_of(before, num_examples=state.num_examples)
    begun = position.map(
        lambda at: attrs.evolve(
            state,
            step=at.step,
            batches_done=at.batches_done,
            epoch=at.epoch,
            data_digest=at.data_digest,
            started_from=before.config.start_from,
            reference_path=named,
        )
    )
    if path is None:
        return from_result(begun)
    kept = read_kept(type(state), metadata).alt(lambda problem: _unreadable(path, problem))

    def going_on(at: S) -> Result[S, TrainError]:
        checkpoint = Checkpoint(path=path, name=metadata.get(PLACE, path), step=at.step)
        back = kept.map(lambda found: attrs.evolve(at, **found))  # type: ignore[arg-type]  # of the fields' types
        return back.map(
            lambda state: attrs.evolve(state, checkpoint=checkpoint, reference_path=named or state.reference_path)
        )

    missing = ", ".join(name for name in names_kept(type(state)) if name not in metadata)
    return from_result(begun.bind(going_on)).bind(
        lambda at: tell(RunResumed(step=at.step, path=path, missing=missing)).map(lambda _: at)
    )


def checkpoint_name(state: TrainingState[TrainingConfig]) -> str:
    """Name a checkpoint after its step, after the batches done where they are not as many, and after what they are of.

    `_started` stands behind it where the run began with, or is held against, other weights than the model's own.
    """
    place = "" if state.batches_done == state.step else f"_batch_{state.batches_done:06d}"
    config, start = state.config, "" if (state.started_from or state.reference_path) is None else "_started"
    return f"step_{state.step:06d}{place}_size_{config.batch_size}_seed_{config.seed}_data_{state.data_digest}{start}"


def has_unknown_start(state: TrainingState[TrainingConfig]) -> bool:
    """Tell whether the run began with, or is held against, weights of which the backend kept no record."""
    named = _place_of(state.config, state.session)
    is_known = (state.started_from or state.reference_path) is not None
    return not is_known and named is not None and named["start"] is not None


def digest_of(rows: Sequence[Row]) -> str:
    """Give a short fingerprint of rows: of their plain values, and of the kinds of all others.

    >>> digest_of([{"prompt": "1+1?"}]) == digest_of([{"prompt": "1+1?"}]), digest_of([]) == digest_of([{}])
    (True, False)
    """
    hashed = hashlib.blake2b(digest_size=4)
    for row in rows:
        text = json.dumps(dict(row), skipkeys=True, default=lambda value: type(value).__name__)
        hashed.update(text.encode() + b"\n")
    return hashed.hexdigest()


def _place_of(config: TrainingConfig, session: TrainingSession) -> re.Match[str] | None:
    """Read the place where the checkpoint that a run resumes from was made; None where nothing says it."""
    if config.resume_from is None:
        return None
    return _NAME.search(session.metadata.get(PLACE, "")) or _NAME.search(config.resume_from)


def _unreadable(path: str, problem: str) -> TrainError:
    message = f"the metadata of checkpoint {path} cannot be read: {problem}"
    fix = "resume from another checkpoint, or begin anew with its weights: give start_from, not resume_from"
    return InvalidRequest(message=message, fix=fix)


def _changes(named: re.Match[str], config: TrainingConfig, data_digest: str) -> list[str]:
    was = {"batch_size": int(named["batch_size"]), "seed": int(named["seed"])}
    now = {"batch_size": config.batch_size, "seed": config.seed}
    changes = [f"{field} {value}, not {now[field]}" for field, value in was.items() if value != now[field]]
    return changes if named["data"] == data_digest else [*changes, "other rows (dataset, num_rows)"]
