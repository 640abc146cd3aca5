"""Packing of token sequences into rows of one document after another, with shared prefixes computed once.

Pure: no tensors of the model, no torch. A packed row holds segments; a segment attends to itself causally and to
the whole of its prefix segment, to nothing else. Positions restart for each sequence.

    sequences [p p p a a] and [p p p b]   ->   row  p p p | a a | b      positions 0 1 2 | 3 4 | 3
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

MIN_SHARED_TOKENS = 16
"""Shorter common prefixes are not worth a segment of their own."""


@attrs.frozen(kw_only=True)
class Segment:
    """Tokens `start:stop` of a packed row, which also attend to all of `prefix_start:prefix_stop`."""

    start: int
    stop: int
    prefix_start: int = 0
    prefix_stop: int = 0


@attrs.frozen(kw_only=True, eq=False)
class PackedRow:
    """One row of packed sequences. Letters: P tokens of the row.

    Args:
        members: which sequences it holds, as indexes into the list given to `pack`.
        tokens_P: ids.
        positions_P: position of each token in its own sequence.
        segments: who attends to whom.
        places: for each member, where each of its tokens is in the row (shape: its length).
    """

    members: tuple[int, ...]
    tokens_P: NDArray[np.int64]
    positions_P: NDArray[np.int64]
    segments: tuple[Segment, ...]
    places: tuple[NDArray[np.int64], ...]


@attrs.frozen(kw_only=True)
class Group:
    """Sequences that share their first `shared` tokens (0 for a sequence alone)."""

    members: tuple[int, ...]
    shared: int


def pack(
    sequences: Sequence[tuple[int, ...]], *, capacity: int, shareable: Sequence[int], packable: bool = True
) -> list[PackedRow]:
    """Pack sequences into rows of at most `capacity` tokens (a longer sequence gets a row of its own).

    Args:
        sequences: token ids, each at least one long.
        capacity: tokens in a row.
        shareable: for each sequence, how many of its first tokens may be computed together with another's.
        packable: False gives each sequence its own row, for models without an attention that packs.
    """
    if not packable:
        return [_row([Group(members=(index,), shared=0)], sequences) for index in range(len(sequences))]
    rows: list[PackedRow] = []
    pending: list[Group] = []
    room = capacity
    for group in group_by_prefix(sequences, capacity=capacity, shareable=shareable):
        size = _group_tokens(group, sequences)
        if pending and size > room:
            rows.append(_row(pending, sequences))
            pending, room = [], capacity
        pending.append(group)
        room -= size
    return [*rows, _row(pending, sequences)] if pending else rows


def group_by_prefix(sequences: Sequence[tuple[int, ...]], *, capacity: int, shareable: Sequence[int]) -> list[Group]:
    """Group sequences so that sharing a prefix saves most: sorted order, extended while the saving grows."""
    groups: list[Group] = []
    members: list[int] = []
    shared = size = 0
    for index in sorted(range(len(sequences)), key=lambda index: sequences[index]):
        length = len(sequences[index])
        if members:
            limit = min(shared, shareable[index])
            common = _common_prefix(sequences[members[0]], sequences[index], limit)
            grown = size + (len(members) - 1) * (shared - common) + length - common
            saves_more = len(members) * common >= (len(members) - 1) * shared
            if common >= MIN_SHARED_TOKENS and saves_more and grown <= capacity:
                members.append(index)
                shared, size = common, grown
                continue
            groups.append(_closed(members, shared))
        members, shared, size = [index], min(length, shareable[index]), length
    return [*groups, _closed(members, shared)] if members else groups


def _closed(members: list[int], shared: int) -> Group:
    return Group(members=tuple(members), shared=shared if len(members) > 1 else 0)


def _common_prefix(left: tuple[int, ...], right: tuple[int, ...], limit: int) -> int:
    limit = min(limit, len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(index for index in range(limit) if left[index] != right[index])


def _group_tokens(group: Group, sequences: Sequence[tuple[int, ...]]) -> int:
    return group.shared + sum(len(sequences[index]) - group.shared for index in group.members)


def _row(groups: Sequence[Group], sequences: Sequence[tuple[int, ...]]) -> PackedRow:
    tokens: list[int] = []
    positions: list[int] = []
    segments: list[Segment] = []
    places: list[NDArray[np.int64]] = []
    for group in groups:
        shared, prefix = group.shared, len(tokens)
        _append(sequences[group.members[0]][:shared], 0, tokens, positions)
        if shared:
            segments.append(Segment(start=prefix, stop=prefix + shared))
        for index in group.members:
            start = len(tokens)
            _append(sequences[index][shared:], shared, tokens, positions)
            if len(tokens) > start:
                stop = len(tokens)
                segments.append(Segment(start=start, stop=stop, prefix_start=prefix, prefix_stop=prefix + shared))
            places.append(np.concatenate([np.arange(prefix, prefix + shared), np.arange(start, len(tokens))]))
    return PackedRow(
        members=tuple(index for group in groups for index in group.members),
        tokens_P=np.asarray(tokens, dtype=np.int64),
        positions_P=np.asarray(positions, dtype=np.int64),
        segments=tuple(segments),
        places=tuple(places),
    )


def _append(new: tuple[int, ...], first_position: int, tokens: list[int], positions: list[int]) -> None:
    tokens.extend(new)
    positions.extend(range(first_position, first_position + len(new)))
