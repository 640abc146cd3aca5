"""Checking of examples and splitting of a batch into micro-batches. Letters: N positions of an example, T scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crucible.engine.errors import EmptyBatchError, InvalidExampleError, SequenceTooLongError
from crucible.engine.losses import Loss
from crucible.engine.packing import PackedRow, pack
from crucible.engine.values import Example

Positions: TypeAlias = Literal["trained", "all"]
"""Which positions get a logprob: those the loss selects, or every one."""


@attrs.frozen(kw_only=True)
class Limits:
    """What the model accepts.

    Args:
        max_length: tokens in a sequence.
        vocab_size: ids are in [0, vocab_size).
        micro_batch_tokens: tokens in one forward pass; only a single longer sequence goes beyond it.
        packable: whether sequences can share a row.
    """

    max_length: int
    vocab_size: int
    micro_batch_tokens: int
    packable: bool


@attrs.frozen(kw_only=True, eq=False)
class CheckedExample:
    """An example whose shapes and ids are right. `scored_T` holds the positions to score, increasing.

    All examples of a batch have the same arrays in `inputs_N`: weights that were not given are 1.
    """

    tokens: tuple[int, ...]
    targets_N: NDArray[np.int64]
    inputs_N: Mapping[str, NDArray[np.float32]]
    scored_T: NDArray[np.int64]


@attrs.frozen(kw_only=True, eq=False)
class MicroBatch:
    """One packed row with what is asked of it. Letters: T scored positions, all members one after another.

    Args:
        row: the packed row.
        members: position of each packed example in the caller's batch.
        counts: scored positions of each member; they sum to T.
        places_T: index in the row of the token that makes each prediction.
        targets_T: ids to score.
        inputs_T: float32 loss inputs at those positions.
        owner_T: which member (0, 1, ...) each scored position belongs to.
        scored: for each member, its scored positions in its own sequence.
    """

    row: PackedRow
    members: tuple[int, ...]
    counts: tuple[int, ...]
    places_T: Tensor
    targets_T: Tensor
    inputs_T: Mapping[str, Tensor]
    owner_T: Tensor
    scored: tuple[NDArray[np.int64], ...]


def check_examples(
    examples: Sequence[Example], loss: Loss, limits: Limits, positions: Positions
) -> list[CheckedExample]:
    """Check every example against the loss and the model.

    Raises:
        EmptyBatchError: no example, or (for "trained") no trained token in the batch.
        InvalidExampleError: an array is missing, unknown or of another length; an id is out of range.
        SequenceTooLongError: an example exceeds the context limit.
    """
    if not examples:
        raise EmptyBatchError("the batch holds no example")
    checked = [_checked(index, example, loss, limits, positions) for index, example in enumerate(examples)]
    if not any(len(example.scored_T) for example in checked):
        wanted = " and ".join(loss.selects)
        raise EmptyBatchError(f"no trained token: {wanted} are zero at every position of all {len(checked)} examples")
    return checked


def split(checked: Sequence[CheckedExample], limits: Limits, device: torch.device) -> list[MicroBatch]:
    """Split into micro-batches; examples without a scored position are left out."""
    kept = [index for index, example in enumerate(checked) if len(example.scored_T)]
    rows = pack(
        [checked[index].tokens for index in kept],
        capacity=limits.micro_batch_tokens,
        # A shared token is scored by one example only, but for the last: prompts share, trained texts do not.
        shareable=[int(checked[index].scored_T[0]) + 1 for index in kept],
        packable=limits.packable,
    )
    return [_micro_batch(row, tuple(kept[one] for one in row.members), checked, device) for row in rows]


def _checked(index: int, example: Example, loss: Loss, limits: Limits, positions: Positions) -> CheckedExample:
    num_tokens = len(example.tokens)
    if not num_tokens:
        raise InvalidExampleError(index, "has no tokens")
    if num_tokens > limits.max_length:
        raise SequenceTooLongError(index, num_tokens, limits.max_length)
    unknown = sorted(set(example.loss_inputs) - {"target_tokens", "weights", *loss.inputs})
    if unknown:
        known = ", ".join(["target_tokens", *loss.inputs])
        raise InvalidExampleError(index, f"loss {loss.name!r} knows no input {', '.join(unknown)}; known: {known}")
    targets_N = _array(index, example, "target_tokens").astype(np.int64)
    given_N = {name: _array(index, example, name) for name in loss.inputs}
    if "weights" in example.loss_inputs:
        given_N["weights"] = _array(index, example, "weights")
    inputs_N = {"weights": np.ones(num_tokens, np.float32)} | {name: _float32(one) for name, one in given_N.items()}
    scored_T = _scored(num_tokens, inputs_N, loss, positions)
    _check_ids(index, "token", np.asarray(example.tokens), limits.vocab_size)
    _check_ids(index, "target", targets_N[scored_T], limits.vocab_size)
    return CheckedExample(tokens=example.tokens, targets_N=targets_N, inputs_N=inputs_N, scored_T=scored_T)


def _array(index: int, example: Example, name: str) -> NDArray[np.generic]:
    if name not in example.loss_inputs:
        raise InvalidExampleError(index, f"lacks the loss input {name!r}")
    array = np.asarray(example.loss_inputs[name])
    wanted = (len(example.tokens),)
    if array.shape != wanted:
        raise InvalidExampleError(index, f"{name} has shape {array.shape} and its tokens have shape {wanted}")
    return array


def _float32(array: NDArray[np.generic]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large for a float32 makes a loss that is not finite, and is told so
        return array.astype(np.float32)


def _scored(
    num_tokens: int, inputs_N: Mapping[str, NDArray[np.float32]], loss: Loss, positions: Positions
) -> NDArray[np.int64]:
    if positions == "all":
        return np.arange(num_tokens)
    chosen_N = np.zeros(num_tokens, dtype=bool)
    for name in loss.selects:
        chosen_N |= inputs_N[name] != 0
    return np.flatnonzero(chosen_N & (inputs_N["weights"] != 0))


def _check_ids(index: int, what: str, ids: NDArray[np.int64], vocab_size: int) -> None:
    bad = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if len(bad):
        raise InvalidExampleError(index, f"{what} id {int(ids[bad[0]])} is outside the vocabulary of {vocab_size}")


def _micro_batch(
    row: PackedRow, members: tuple[int, ...], checked: Sequence[CheckedExample], device: torch.device
) -> MicroBatch:
    examples = [checked[index] for index in members]
    counts = tuple(len(example.scored_T) for example in examples)
    names = examples[0].inputs_N
    placed = zip(row.places, examples, strict=True)
    return MicroBatch(
        row=row,
        members=members,
        counts=counts,
        places_T=_joined([places[example.scored_T] for places, example in placed], device),
        targets_T=_joined([example.targets_N[example.scored_T] for example in examples], device),
        inputs_T={name: _joined([one.inputs_N[name][one.scored_T] for one in examples], device) for name in names},
        owner_T=_joined([np.repeat(np.arange(len(counts)), counts)], device),
        scored=tuple(example.scored_T for example in examples),
    )


def _joined(arrays: Sequence[NDArray[np.generic]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays)).to(device)
