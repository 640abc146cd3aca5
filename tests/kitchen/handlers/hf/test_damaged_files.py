"""Files that are damaged, empty or in another encoding: always an error value that names the file, the line and the fix."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.effects import Failure, Result, perform
from crucible.kitchen.handlers import hf
from crucible.train.errors import StorageFailed, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import DatasetConfig, Row

ROWS: list[dict[str, object]] = [{"prompt": f"Qué {n}?", "completion": "2024-01-01"} for n in range(5)]
TEXT = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
_OPEN = zstandard.ZstdCompressor().compressobj()
FLUSHED = _OPEN.compress(TEXT.encode()) + _OPEN.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
"""A file whose writer was killed between two rows."""
CSV = "prompt,n\nQué?,1\nsí,2\n"


def rows_of(path: Path, *, streaming: bool) -> Result[tuple[Row, ...], TrainError]:
    config = DatasetConfig(name=str(path), streaming=streaming)
    reading = perform(DatasetStore.load_dataset, config).bind(lambda data: perform(DatasetStore.read_rows, data))
    return hf.datasets(hf.HfConfig(cache=path.parent / "cache")).run(reading)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", TEXT.encode("latin-1"), ["line 1", "0xe9", "iconv -f LATIN1"]),
        ("rows.jsonl", TEXT.encode("utf-16"), ["UTF-16", "iconv -f UTF-16"]),
        ("rows.jsonl", TEXT.encode("utf-16-le"), ["UTF-16", "iconv"]),
        ("rows.jsonl", TEXT.encode()[:-20], ["line 5 is no JSON", "column"]),
        ("rows.jsonl", TEXT.encode() + b"\n\n{oops}\n", ["line 8 is no JSON", "column 2"]),
        ("rows.jsonl", b'{"a": 1}\n[2]\n', ["line 2 is a list", "objects"]),
        ("rows.jsonl", b"1\n", ["line 1 is a number"]),
        ("rows.jsonl", b"null\n", ["line 1 is null"]),
        ("rows.jsonl", b'{"prompt": "\\ud83d"}\n', ["line 1", "surrogate"]),
        ("rows.jsonl", b'{"a":' * 2000 + b"1" + b"}" * 2000, ["line 1", "nested too deeply"]),
        ("rows.json", b'[{"a": 1}, 2]', ["element 1 is a number"]),
        ("rows.json", b'[{"a": 1}', ["no JSON", "line 1"]),
        ("rows.jsonl.gz", gzip.compress(TEXT.encode())[:-9], ["gzip", "again"]),
        ("rows.jsonl.gz", TEXT.encode(), ["not packed"]),
        ("rows.jsonl.zst", zstandard.compress(TEXT.encode())[:-9] + b"x" * 9, ["zstandard", "again"]),
        ("rows.jsonl.zst", zstandard.compress(TEXT.encode())[:-1], ["zstandard", "ends in the middle", "again"]),
        ("rows.jsonl.zst", zstandard.compress(TEXT.encode()) + FLUSHED, ["zstandard", "ends in the middle"]),
        ("rows.csv", CSV.encode("latin-1"), ["0xe9", "iconv"]),
        ("rows.csv", b"a,b\n1,2\n3,4,5\n", ["line 3 has 3 values", "names 2"]),
        ("rows.csv", b"a,b\n1,2,3\n4,5,6\n", ["line 2 has 3 values"]),
        ("rows.csv", b"a,b\n1\n", ["line 2 has 1 values"]),
        ("rows.csv", b"a,a\n1,2\n", ["'a' twice"]),
        ("rows.csv", b"a,b\n", ["no row", "header"]),
        ("rows.csv", b'a,b\n"1,2\n', ["line 2"]),
        ("rows.parquet", b"PAR1 and no more", ["again"]),
        ("rows.arrow", b"nothing", ["again"]),
        ("rows.txt", "é\n".encode("latin-1"), ["line 1", "iconv"]),
    ],
    ids=lambda it: it if isinstance(it, str) else type(it).__name__,  # packed bytes hold the time
)
def test_a_damaged_file_is_named_with_the_line_and_the_fix(
    tmp_path: Path, name: str, content: bytes, says: list[str], streaming: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    error = rows_of(tmp_path / name, streaming=streaming).failure()
    assert isinstance(error, StorageFailed), error
    assert [part for part in [name, *says] if part not in str(error)] == []
    assert error.fix


@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.json", "rows.csv", "rows.tsv", "rows.parquet", "rows.arrow", "rows.txt"]
)
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    error = (
        rows_of(tmp_path / name, streaming=False).swap().value_or(None) if name != "rows.txt" or not content else None
    )
    assert name == "rows.txt" or isinstance(error, StorageFailed)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("rows.jsonl", bytes),
        ("rows.json", bytes),
        ("rows.jsonl.gz", gzip.compress),
        ("rows.jsonl.bz2", bz2.compress),
        ("rows.jsonl.xz", lzma.compress),
        ("rows.jsonl.zst", zstandard.compress),
        ("rows.jsonl.zst", lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:])),
    ],
)
def test_values_are_what_is_written(tmp_path: Path, name: str, pack: Callable[[bytes], bytes], streaming: bool) -> None:
    rows: list[dict[str, object]] = [
        {"completion": "2024-01-01", "n": 1},
        {"completion": 7, "n": "NA", "big": 10**30, "nested": [{"a": None}]},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows)
    (tmp_path / name).write_bytes(pack(text.encode()))
    assert list(rows_of(tmp_path / name, streaming=streaming).unwrap()) == rows


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[\n  {"a": 1},\n  {"a": 2}\n]\n', [{"a": 1}, {"a": 2}]),
        (b'{\n  "a": 1\n}', [{"a": 1}]),
        (b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
    ],
)
def test_a_document_of_json_is_rows_too(tmp_path: Path, content: bytes, expected: list[Row]) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    assert list(rows_of(tmp_path / "rows.json", streaming=False).unwrap()) == expected


def written(folder: Path, ending: str) -> bytes:
    path = folder / f"whole.{ending}"
    table = datasets.Dataset.from_list(ROWS)
    match ending:
        case "parquet":
            table.to_parquet(path)
        case "csv":
            path.write_text("prompt,n\n" + "".join(f'"Qué, {n}?",{n}\n' for n in range(5)))
        case "jsonl.gz":
            path.write_bytes(gzip.compress(TEXT.encode()))
        case _:
            path.write_text(TEXT)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["jsonl", "json", "jsonl.gz", "csv", "parquet", "txt"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_is_an_exception(tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    whole = written(folder, ending)
    place = data.draw(st.integers(0, len(whole) - 1))
    content = data.draw(
        st.sampled_from(
            [whole[:place], whole[place:], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]]
        )
        | st.binary(max_size=64).map(lambda put: whole[:place] + put + whole[place:])
        | st.binary(max_size=64)
    )
    (folder / f"rows.{ending}").write_bytes(content)
    result = rows_of(folder / f"rows.{ending}", streaming=data.draw(st.booleans()))
    if isinstance(result, Failure):
        assert f"rows.{ending}" in str(result.failure())
