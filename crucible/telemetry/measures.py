"""What a store keeps of an event: its name, its numbers, the rest, and the points of series that it gives."""

from collections.abc import Mapping
from functools import cache

import attrs

from crucible.effects import Json

_NOT_MEASURED = frozenset({"step", "epoch", "row"})


@attrs.frozen(kw_only=True)
class Measured:
    """What an event says.

    Args:
        numbers: what it measured, by field; `step`, `epoch` and `row` say where, not what. Of a mapping, those by its keys.
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
        if type(value) is float:  # as most are
            numbers[name] = value
        elif isinstance(value, Mapping):
            for key, each in value.items():
                _sort(str(key), each, numbers, attributes)
        elif name in _NOT_MEASURED or value is True or value is False or not isinstance(value, (int, float)):
            _say(name, value, attributes)
        else:
            _sort(name, value, numbers, attributes)
    prefix: str | None = getattr(kind, "METRICS", None)
    step = None if prefix is None else getattr(event, "step", None)
    return Measured(
        numbers=numbers, attributes=attributes, step=step if isinstance(step, int) else None, prefix=prefix or ""
    )


def _sort(name: str, value: object, numbers: dict[str, float], attributes: dict[str, Json]) -> None:
    """Put what should be a number among the numbers; a text, nothing, or a number beyond all floats is said all the same."""
    if isinstance(value, str):
        _say(name, value, attributes)
        return
    try:
        numbers[name] = float(value)  # type: ignore[arg-type]  # whatever has a float in it, an array of one number say
    except (TypeError, ValueError, OverflowError):
        _say(name, value, attributes)


def _say(name: str, value: object, attributes: dict[str, Json]) -> None:
    said = value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
    attributes["file" if name == "path" else name] = said


def name_of(event: object) -> str:
    """Give the name under which an event is stored: its `NAME`, or its class's name."""
    name: str = getattr(event, "NAME", type(event).__name__)
    return name


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind)) if attrs.has(kind) else ()
