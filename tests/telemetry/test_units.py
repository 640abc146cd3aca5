"""The table of events: every event has a row, every number a unit, and the page for users shows the same."""

from typing import get_args

import attrs

from crucible.telemetry.events import Event
from crucible.telemetry.measures import measure
from crucible.telemetry.units import UNITS, event_kinds, unit_of
from tests.sources import ROOT

NOT_MEASURED = {"step", "epoch", "writer", "environment"}  # they say where, not what


def number_fields(kind: type) -> set[str]:
    return {field.name for field in attrs.fields(kind) if field.type in (int, float, int | None)}


def test_every_kind_of_event_is_in_the_table_once() -> None:
    names = [kind.name for kind in event_kinds()]
    assert names == [kind.NAME for kind in get_args(Event)]
    assert len(set(names)) == len(names)


def test_every_number_of_an_event_has_a_unit() -> None:
    measured = {name for kind in get_args(Event) for name in number_fields(kind)} - NOT_MEASURED
    assert measured - UNITS.keys() == set()


def test_a_metric_is_measured_in_the_unit_of_its_name() -> None:
    [kind] = [kind for kind in get_args(Event) if kind.NAME.endswith("training.step")]
    step = kind(step=1, loss=2.0, learning_rate=0.1, grad_norm=1.0, num_tokens=8, epoch=0)
    assert {name: unit_of(name) for name in measure(step).metrics} == {
        "loss": "nats a trained token",
        "learning_rate": "a step",
        "grad_norm": "norm before clipping",
        "num_tokens": "tokens",
    }


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    for kind in event_kinds():
        shown = [line for line in page.splitlines() if line.startswith(f"| `{kind.name}` |")]
        assert shown == [row(kind.name, kind.meaning, kind.fields, kind.metrics)], kind.name
    units = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 3]
    assert units == [f"| `{name}` | {unit} |" for name, unit in UNITS.items()]


def row(name: str, meaning: str, fields: tuple[str, ...], metrics: str | None) -> str:
    series = "" if metrics is None else f"`{metrics}...`" if metrics else "by field"
    return f"| `{name}` | {meaning} | {', '.join(f'`{field}`' for field in fields)} | {series} |"
