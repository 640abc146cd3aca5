"""Pairs whose two answers are the same: they say nothing of which is better, so they are left out, and that is told."""

from collections.abc import Sequence
from typing import Never

from crucible.effects import Do, do, fail, tell
from crucible.telemetry.events import EqualPairs
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.preference_data import comparison_of, equal_pairs
from crucible.train.types import DatasetConfig, Datum, Row


@do
def different_pairs(
    data: Sequence[Datum], rows: Sequence[Row], source: DatasetConfig, *, max_length: int
) -> Do[TrainError, Never, tuple[Datum, ...]]:
    """Leave out the pairs, one of each row, that are the same tokens once they are cut to the length that is allowed.

    Fails: InvalidRequest when all of them are.
    """
    equal = equal_pairs(data)
    if not equal:
        return tuple(data)
    cut = [pair for pair in equal if len(data[2 * pair].model_input) == max_length - 1 and _differs(rows[pair], pair)]
    if len(equal) == len(rows):
        message = f"all {len(rows)} pairs of {source.name!r}, split {source.split!r}, have two equal answers"
        if cut:
            message += f", {len(cut)} of them because they are cut where they begin to differ"
        fix = "raise max_length" if cut else "check the columns of the chosen and the rejected answer"
        yield from fail(InvalidRequest(message=message, fix=fix, index=equal[0]))
    yield from tell(
        EqualPairs(
            dataset=source.name,
            split=source.split,
            num_equal=len(equal),
            num_cut=len(cut),
            num_pairs=len(rows),
            row=equal[0],
        )
    )
    left_out = set(equal)
    return tuple(datum for place, datum in enumerate(data) if place // 2 not in left_out)


def _differs(row: Row, index: int) -> bool:
    """Tell whether the answers of a row differ before they are cut."""
    judged = comparison_of(row, index=index).value_or(None)
    return judged is not None and judged.chosen != judged.rejected
