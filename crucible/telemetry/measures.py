"""What a store keeps of an event: its name, its numbers, the rest, and the points of series that it gives."""

from collections.abc import Mapping
from functools import cache

import attrs

from crucible.effects import Json

_NOT_MEASURED = frozenset({"step", "epoch"})


@attrs.frozen(kw_only=True)
class Measured:
    """What an event says.

    Args:
        numbers: what it measured, by field; `step` and `epoch` say where, not what.
        attributes: what else it says: its texts, flags, step and epoch; anything else as text. A field `path`, of something
            that was written, is the attribute `file`: in a record, `path` is the place in the workflow.
        step: of the points it gives; None for an event that is no point of a series.
        prefix: of the names of its metrics.
    """

    numbers: Mapping[str, float]
    attributes: Mapping[str, Json]
    step: int | None
    prefix: str

    @property
    def metrics(self) -> Mapping[str, float]:
        """The points of series that the event gives, by name; none without a step."""
        if self.step is None:
            return {}
        return {f"{self.prefix}{name}": number for name, number in self.numbers.items()}


def measure(event: object) -> Measured:
    """Read an event.

    >>> from crucible.telemetry.events import EvaluationCompleted
    >>> measured = measure(EvaluationCompleted(step=8, metrics={"accuracy": 0.5}, num_examples=4))
    >>> measured.attributes, measured.metrics
    ({'step': 8}, {'eval/accuracy': 0.5, 'eval/num_examples': 4.0})
    """
    kind: type = type(event)
    numbers: dict[str, float] = {}
    attributes: dict[str, Json] = {}
    for name in _field_names(kind):
        value = getattr(event, name)
        if isinstance(value, (int, float)) and value is not True and value is not False and name not in _NOT_MEASURED:
            numbers[name] = float(value)
        elif value is None or isinstance(value, (bool, int, float, str)):
            attributes["file" if name == "path" else name] = value
        elif isinstance(value, Mapping):
            numbers.update((key, float(number)) for key, number in value.items())
        else:
            attributes[name] = str(value)
    prefix: str | None = getattr(kind, "METRICS", None)
    step = None if prefix is None else getattr(event, "step", None)
    return Measured(
        numbers=numbers, attributes=attributes, step=step if isinstance(step, int) else None, prefix=prefix or ""
    )


def name_of(event: object) -> str:
    """Give the name under which an event is stored: its `NAME`, or its class's name."""
    name: str = getattr(event, "NAME", type(event).__name__)
    return name


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind)) if attrs.has(kind) else ()
