"""Where a run is in its data, written into the names of its checkpoints, and read back by the run that goes on from one."""

import hashlib
import json
import re
from collections.abc import Sequence

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.states import Tokenized, TrainingState
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.types import Row

_NAME = re.compile(
    r"step_(?P<step>\d+)(?:_batch_(?P<batch>\d+))?_size_(?P<batch_size>\d+)_seed_(?P<seed>-?\d+)_data_(?P<data>[0-9a-f]+)"
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

    A checkpoint that was given another name says nothing but its step.

    Fails: InvalidRequest when the checkpoint's place is one in other batches: it names what was different.
    """
    config, found = state.config, digest_of(state.rows)
    per_epoch = max(steps_per_epoch(num_examples, batch_size=config.batch_size), 1)
    named = _NAME.search(config.resume_from or "")
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


def checkpoint_name(state: TrainingState[TrainingConfig]) -> str:
    """Name a checkpoint after its step, after the batches done where they are not as many, and after what they are of."""
    place = "" if state.batches_done == state.step else f"_batch_{state.batches_done:06d}"
    config = state.config
    return f"step_{state.step:06d}{place}_size_{config.batch_size}_seed_{config.seed}_data_{state.data_digest}"


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


def _changes(named: re.Match[str], config: TrainingConfig, data_digest: str) -> list[str]:
    was = {"batch_size": int(named["batch_size"]), "seed": int(named["seed"])}
    now = {"batch_size": config.batch_size, "seed": config.seed}
    changes = [f"{field} {value}, not {now[field]}" for field, value in was.items() if value != now[field]]
    return changes if named["data"] == data_digest else [*changes, "other rows (dataset, num_rows)"]
