"""What a store keeps of an event: its name, its numbers, the rest, and the points of series that it gives."""

from collections.abc import Mapping

import attrs

from crucible.effects import Json

_NOT_MEASURED = frozenset({"step", "epoch"})


def name_of(event: object) -> str:
    """Give the name under which an event is stored: its `NAME`, or its class's name."""
    name: str = getattr(event, "NAME", type(event).__name__)
    return name


def measurements_of(event: object) -> dict[str, float]:
    """Give the numbers that an event measured, by field; `step` and `epoch` say where, not what.

    >>> from crucible.telemetry.events import EpochCompleted
    >>> measurements_of(EpochCompleted(step=8, epoch=0, mean_loss=1.5))
    {'mean_loss': 1.5}
    """
    numbers: dict[str, float] = {}
    for name, value in _fields(event).items():
        if isinstance(value, Mapping):
            numbers |= {key: float(number) for key, number in value.items()}
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in _NOT_MEASURED:
            numbers[name] = value
    return numbers


def attributes_of(event: object) -> dict[str, Json]:
    """Give what else an event says: its texts, flags, step and epoch; anything else as text."""
    measured = measurements_of(event)
    return {
        name: value if value is None or isinstance(value, bool | int | float | str) else str(value)
        for name, value in _fields(event).items()
        if name not in measured and not isinstance(value, Mapping)
    }


def metrics_of(event: object) -> tuple[int, dict[str, float]] | None:
    """Give the step of an event and its metrics by name; None for an event that is no point of a series.

    >>> from crucible.telemetry.events import EvaluationCompleted
    >>> metrics_of(EvaluationCompleted(step=8, metrics={"accuracy": 0.5}, num_examples=4))
    (8, {'eval/accuracy': 0.5, 'eval/num_examples': 4})
    """
    prefix: str | None = getattr(event, "METRICS", None)
    step = _fields(event).get("step")
    if prefix is None or not isinstance(step, int):
        return None
    return step, {f"{prefix}{name}": value for name, value in measurements_of(event).items()}


def _fields(event: object) -> dict[str, object]:
    kind = type(event)
    return {field.name: getattr(event, field.name) for field in attrs.fields(kind)} if attrs.has(kind) else {}
