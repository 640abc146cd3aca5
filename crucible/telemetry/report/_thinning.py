"""Thinning: fewer points that draw the same picture."""

import math

from crucible.telemetry.series import Series

BUCKETS = 500
"""About as many as a chart has pixels."""


def thinned(series: Series, *, buckets: int = BUCKETS) -> Series:
    """Keep, of each stretch of steps, the least and the greatest value, and one that is not finite where there is one.

    So no peak, dip or gap is lost, and a series of any length has at most `3 * buckets` points. One that has at most
    `2 * buckets` points is given as it is.

    >>> long = Series(name="loss", steps=tuple(range(10_000)), values=(1.0,) * 5000 + (9.0,) + (1.0,) * 4999)
    >>> short = thinned(long, buckets=10)
    >>> len(short) <= 30, max(short.values), short.steps[0], short.steps[-1]
    (True, 9.0, 0, 9999)
    """
    if len(series) <= 2 * buckets:
        return series
    first, last = series.steps[0], series.steps[-1]
    kept: list[int] = []
    bucket: list[int] = []
    number = 0
    for index, step in enumerate(series.steps):
        its_number = (step - first) * buckets // (last - first + 1)
        if its_number != number:
            kept += _standing_out(series, bucket)
            bucket, number = [], its_number
        bucket.append(index)
    kept += _standing_out(series, bucket)
    chosen = sorted({0, *kept, len(series) - 1})
    return Series(
        name=series.name,
        steps=tuple(series.steps[index] for index in chosen),
        values=tuple(series.values[index] for index in chosen),
    )


def _standing_out(series: Series, bucket: list[int]) -> set[int]:
    finite = [index for index in bucket if math.isfinite(series.values[index])]
    odd = next((index for index in bucket if not math.isfinite(series.values[index])), None)
    kept = set() if odd is None else {odd}
    if finite:
        kept |= {min(finite, key=series.values.__getitem__), max(finite, key=series.values.__getitem__)}
    return kept
