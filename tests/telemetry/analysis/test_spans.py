"""Spans are paired as they were told, whatever died in between."""

from datetime import UTC, datetime, timedelta

import pytest

from crucible.effects import perform
from crucible.kitchen import run
from crucible.telemetry.analysis import latency, reliability, spans_of, token_cost
from crucible.telemetry.ports import EventStore
from crucible.telemetry.types import EventRecord, MetricPoint
from tests.kitchen.fakes import Stores, ticking
from tests.kitchen.test_run import kitchen, recipe

START = datetime(2026, 1, 1, tzinfo=UTC)


def told(*events: tuple[str, str]) -> list[EventRecord]:
    return [
        EventRecord(name=name, timestamp=START + timedelta(seconds=i), attributes={"path": path}, sequence=i)
        for i, (name, path) in enumerate(events)
    ]


def test_nested_repeated_failed_and_unended_spans() -> None:
    spans = spans_of(
        told(
            ("run.start", "a"),
            ("stage.start", "a/b"),
            ("stage.stop", "a/b"),
            ("stage.start", "a/b"),
            ("stage.exception", "a/b"),
            ("stage.stop", "never began"),
            ("stage.start", "a/c"),
        )
    )
    assert [(span.path, span.seconds, span.error) for span in spans] == [
        ("a", None, None),
        ("a/b", 1.0, None),
        ("a/b", 1.0, ""),
        ("a/c", None, None),
    ]
    assert latency(spans)["a/b"].count == 2
    counted = reliability(spans)
    assert {path: (it.count, it.num_failed) for path, it in counted.items()} == {
        "a": (1, 1),
        "a/b": (2, 1),
        "a/c": (1, 1),
    }
    assert counted["a/b"].success_rate == 0.5


def test_the_spans_of_a_real_run_nest_and_end() -> None:
    stores = Stores()
    run(recipe, kitchen() | stores.handlers(), run_id="evening").unwrap()
    spans = spans_of(stores.handlers().run(perform(EventStore.query, "evening")).unwrap())
    assert [span.path for span in spans] == ["dinner", "dinner/soup", "dinner/fish", "dinner/serve"]
    assert all(span.seconds is not None and span.error is None for span in spans)


def test_tokens_cost_what_they_cost() -> None:
    points = [
        MetricPoint(name=name, value=1e6, timestamp=ticking()(), sequence=i)
        for i, name in enumerate(("in", "in", "out"))
    ]
    assert token_cost(points, {"in": 1.5, "out": 6.0, "none": 1.0}) == pytest.approx(
        {"in": 3.0, "out": 6.0, "none": 0.0}
    )
