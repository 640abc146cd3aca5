"""Packing: sequences of different lengths into few bins of one size."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], *, capacity: int) -> tuple[tuple[int, ...], ...]:
    """Put every item into a bin, none over `capacity`: the longest first, each into the first bin with room.

    First-fit decreasing, which needs at most 11/9 of the fewest possible bins, and less than one more (Johnson 1973; Dosa
    2007). Gives the indices in each bin, sorted; the same lengths give the same bins.

    >>> pack([5, 3, 4, 2], capacity=7)
    ((0, 3), (1, 2))

    Raises: ValueError when an item is longer than a bin, or shorter than 0.
    """
    for index, length in enumerate(lengths):
        if not 0 <= length <= capacity:
            raise ValueError(f"item {index} has length {length}: it does not fit into a bin of {capacity}")
    bins: list[list[int]] = []
    rooms: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = next((i for i, room in enumerate(rooms) if room >= lengths[index]), len(bins))
        if place == len(bins):
            bins.append([])
            rooms.append(capacity)
        bins[place].append(index)
        rooms[place] -= lengths[index]
    return tuple(tuple(sorted(members)) for members in bins)
