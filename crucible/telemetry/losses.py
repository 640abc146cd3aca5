"""What a run lost on its way, in words: episodes that failed, and pairs that were left out."""

from crucible.telemetry.events import EpisodesFailed
from crucible.telemetry.types import EventRecord


def said_of(event: EventRecord) -> tuple[str, str]:
    """Say what was lost, and why, of a record of `EpisodesFailed` or `EqualPairs`.

    >>> from crucible.telemetry.events import EqualPairs
    >>> from crucible.telemetry.measures import measure
    >>> from datetime import UTC, datetime
    >>> told = measure(EqualPairs(dataset="d", split="train", num_equal=2, num_cut=1, num_pairs=9, row=4))
    >>> attributes = {**told.attributes, **told.numbers}
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> ": ".join(said_of(EventRecord(name=EqualPairs.NAME, sequence=1, timestamp=now, attributes=attributes)))
    '2 of 9 pairs of d, split train (first row 4): left out, their two answers are equal (1 only as they are cut)'
    """
    said = event.attributes

    def count(name: str) -> int:
        number = said.get(name)
        return int(number) if isinstance(number, int | float) else 0

    if event.name == EpisodesFailed.NAME:
        row = "" if said.get("row") is None else f", first on row {said['row']} {said.get('shown', '')}"
        return f"{count('num_failed')} episodes{row}", str(said.get("error", ""))
    cut = f" ({count('num_cut')} only as they are cut)" if count("num_cut") else ""
    where = f"{said.get('dataset')}, split {said.get('split')} (first row {said.get('row')})"
    return (
        f"{count('num_equal')} of {count('num_pairs')} pairs of {where}",
        f"left out, their two answers are equal{cut}",
    )
