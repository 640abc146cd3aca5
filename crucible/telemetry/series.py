"""`Series`: the values of one metric by step, as they count after pauses and crashes."""

from collections.abc import Mapping, Sequence

import attrs

from crucible.telemetry.types import MetricPoint


@attrs.frozen(kw_only=True)
class Series:
    """The values of a metric, one for each step, in the order of the steps."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.steps)


def series_of(points: Sequence[MetricPoint]) -> Mapping[str, Series]:
    """Give the series of points, by name. Points without a step belong to none.

    A run that was resumed from a checkpoint passes some steps again: of a step recorded twice the later record counts.

    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> steps = [(0, 3.0), (1, 2.0), (1, 2.5), (2, 1.0)]  # step 1 was done again after a crash
    >>> points = [
    ...     MetricPoint(name="loss", value=value, step=step, timestamp=now, sequence=sequence)
    ...     for sequence, (step, value) in enumerate(steps)
    ... ]
    >>> series_of(points)["loss"]
    Series(name='loss', steps=(0, 1, 2), values=(3.0, 2.5, 1.0))
    """
    found: dict[str, dict[int, float]] = {}
    for point in sorted(points, key=lambda point: point.sequence):
        if point.step is not None:
            found.setdefault(point.name, {})[point.step] = point.value
    return {name: _series(name, values) for name, values in sorted(found.items())}


def _series(name: str, values: Mapping[int, float]) -> Series:
    steps = tuple(sorted(values))
    return Series(name=name, steps=steps, values=tuple(values[step] for step in steps))
