"""Exports: points and events of runs as CSV, JSON, JSON lines, Parquet or a Markdown table, by the ending of the file's name.

Columns are those of all rows together, so that nothing that first appears late is lost. Values that a format cannot write
as they are (nested attributes in CSV and Markdown) are written as JSON. In JSON, which has no such numbers, NaN and the
infinities are the texts "NaN", "Infinity" and "-Infinity"; in Parquet, timestamps are timestamps.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from crucible.effects import Json, encode
from crucible.storage import replacing
from crucible.telemetry.types import EventRecord, MetricPoint

Row: TypeAlias = Mapping[str, Json]

_TIME = "timestamp"


def point_rows(run_id: str, points: Iterable[MetricPoint]) -> list[Row]:
    """Give a row for each point; its metadata in columns `metadata.<key>`."""
    return [
        {
            "run_id": run_id,
            "sequence": point.sequence,
            "metric": point.name,
            "step": point.step,
            "value": point.value,
            _TIME: point.timestamp.isoformat(),
            **{f"metadata.{key}": value for key, value in point.metadata.items()},
        }
        for point in points
    ]


def event_rows(run_id: str, events: Iterable[EventRecord]) -> list[Row]:
    """Give a row for each event; its attributes in columns `attributes.<key>`."""
    return [
        {
            "run_id": run_id,
            "sequence": event.sequence,
            "event": event.name,
            _TIME: event.timestamp.isoformat(),
            **{f"attributes.{key}": value for key, value in event.attributes.items()},
        }
        for event in events
    ]


def export_rows(rows: Sequence[Row], path: Path | str) -> None:
    """Write rows to a file; the file is whole or not there.

    Raises: ValueError for an ending that is none of those known; ImportError for Parquet without pyarrow, with the extra that
        brings it; OSError when it cannot be written.

    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> point = MetricPoint(name="loss", value=0.5, step=1, timestamp=now, sequence=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_rows(point_rows("run", [point]), Path(folder) / "points.csv")
    ...     print((Path(folder) / "points.csv").read_text(), end="")
    run_id,sequence,metric,step,value,timestamp
    run,0,loss,1,0.5,2026-01-01T00:00:00+00:00
    """
    path = Path(path)
    write = _FORMATS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"{path.name}: no export has the ending {path.suffix!r}: use one of {', '.join(_FORMATS)}")
    data = write(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def _columns(rows: Sequence[Row]) -> list[str]:
    return list({name: None for row in rows for name in row})


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _json(rows: Sequence[Row]) -> bytes:
    text = json.dumps([_strict(row) for row in rows], allow_nan=False, ensure_ascii=False, indent=2)
    return f"{text}\n".encode()


def _jsonl(rows: Sequence[Row]) -> bytes:
    lines = (json.dumps(_strict(row), allow_nan=False, ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _markdown(rows: Sequence[Row]) -> bytes:
    columns = _columns(rows)
    cells = [columns, ["---"] * len(columns), *([str(_cell(row.get(name))) for name in columns] for row in rows)]
    lines = (" | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in line) for line in cells)
    return "".join(f"| {line} |\n" for line in lines).encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError("pyarrow is not installed: pip install 'crucible-llm[analysis]'") from error
    columns = {name: [row.get(name) for row in rows] for name in _columns(rows)}
    arrays = {name: pa.array(_alike(values)) for name, values in columns.items()}
    if _TIME in arrays:
        times = [None if time is None else datetime.fromisoformat(str(time)) for time in columns[_TIME]]
        arrays[_TIME] = pa.array(times, pa.timestamp("us", "UTC"))
    sink = io.BytesIO()
    parquet.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _alike(values: Sequence[Json]) -> Sequence[Json]:
    """Make the values of a column of one kind: texts, where they are of several or nested."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return values if len(kinds) == 1 else [None if value is None else float(str(value)) for value in values]
    if len(kinds) <= 1 and kinds <= {bool, str}:
        return values
    return [None if value is None else str(_cell(value)) for value in values]


def _strict(value: Json | Row) -> Json:
    """Make JSON that every reader takes: no numbers but finite ones."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list) else encode(value)


def _cell(value: Json) -> str | int | float | bool:
    if value is None:
        return ""
    return value if isinstance(value, str | int | float | bool) else json.dumps(_strict(value), ensure_ascii=False)


_FORMATS: Mapping[str, Callable[[Sequence[Row]], bytes]] = {
    ".csv": _csv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".md": _markdown,
    ".parquet": _parquet,
}
