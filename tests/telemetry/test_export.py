"""Exports hold every row and every column, in formats that others read."""

import csv
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import parquet

from crucible.telemetry.export import event_rows, export_rows, point_rows
from crucible.telemetry.types import EventRecord, MetricPoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POINTS = [
    MetricPoint(name="loss", value=0.1 + 0.2, step=1, timestamp=NOW, sequence=0),
    MetricPoint(name="loss", value=math.nan, timestamp=NOW, metadata={"split": 'a "b", |c'}, sequence=1),
]
EVENTS = [
    EventRecord(name="x.start", timestamp=NOW, attributes={"path": "a"}, sequence=0),
    EventRecord(name="x.stop", timestamp=NOW, attributes={"late": [1, {"deep": True}], "count": 2}, sequence=1),
    EventRecord(name="x.stop", timestamp=NOW, attributes={"count": 2.5}, sequence=2),
]


def test_csv_has_the_columns_of_all_rows_and_exact_numbers(tmp_path: Path) -> None:
    export_rows(point_rows("run", POINTS), tmp_path / "new" / "points.csv")
    rows = list(csv.DictReader((tmp_path / "new" / "points.csv").read_text().splitlines()))
    assert float(rows[0]["value"]) == 0.1 + 0.2
    assert math.isnan(float(rows[1]["value"]))
    assert (rows[0]["metadata.split"], rows[1]["metadata.split"], rows[1]["step"]) == ("", 'a "b", |c', "")


def test_json_is_one_list_of_what_the_lines_of_json_are(tmp_path: Path) -> None:
    rows = event_rows("run", EVENTS) + point_rows("run", POINTS)
    for name in ("all.json", "all.jsonl"):
        export_rows(rows, tmp_path / name)
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert json.loads((tmp_path / "all.json").read_text()) == [json.loads(line) for line in lines]
    assert "NaN" in {row.get("value") for row in json.loads((tmp_path / "all.json").read_text())}


def test_json_lines_are_strict_json(tmp_path: Path) -> None:
    export_rows(event_rows("run", EVENTS) + point_rows("run", POINTS), tmp_path / "all.jsonl")
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert rows[1]["attributes.late"] == [1, {"deep": True}]


def test_numbers_that_json_does_not_have_are_texts_that_a_float_is_read_off(tmp_path: Path) -> None:
    odd = [math.nan, math.inf, -math.inf, -0.0]
    events = [
        EventRecord(name="x", timestamp=NOW, attributes={"one": it, "deep": [{"in": it}]}, sequence=0) for it in odd
    ]
    export_rows(event_rows("run", events), tmp_path / "odd.jsonl")
    export_rows(event_rows("run", events), tmp_path / "odd.csv")
    lines = [json.loads(line) for line in (tmp_path / "odd.jsonl").read_text().splitlines()]
    assert [line["attributes.one"] for line in lines] == ["NaN", "Infinity", "-Infinity", -0.0]
    rows = csv.DictReader((tmp_path / "odd.csv").read_text().splitlines())
    assert [json.loads(row["attributes.deep"]) for row in rows] == [line["attributes.deep"] for line in lines]
    assert [repr(float(line["attributes.deep"][0]["in"])) for line in lines] == [repr(it) for it in odd]


def test_parquet_is_read_by_arrow(tmp_path: Path) -> None:
    export_rows(event_rows("run", EVENTS), tmp_path / "events.parquet")
    table = parquet.read_table(tmp_path / "events.parquet").to_pydict()
    assert table["attributes.count"] == [None, 2.0, 2.5]
    assert table["attributes.late"] == [None, '[1, {"deep": true}]', None]
    assert table["sequence"] == [0, 1, 2]
    assert table["timestamp"] == [NOW] * 3


def test_an_export_of_nothing_is_a_file_with_nothing_in_it(tmp_path: Path) -> None:
    for ending in (".csv", ".jsonl", ".md", ".parquet"):
        export_rows([], tmp_path / f"none{ending}")
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0
    assert (tmp_path / "none.jsonl").read_text() == ""


def test_markdown_is_one_table(tmp_path: Path) -> None:
    export_rows(point_rows("run", POINTS), tmp_path / "points.md")
    lines = (tmp_path / "points.md").read_text().splitlines()
    assert len(lines) == 4
    assert {line.replace("\\|", "").count("|") for line in lines} == {8}


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"use one of \.csv, \.json, \.jsonl, \.md, \.parquet"):
        export_rows([], tmp_path / "points.xlsx")
    assert list(tmp_path.iterdir()) == []
