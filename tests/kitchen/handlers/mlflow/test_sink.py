"""MLflow as a sink over a local database: its own client finds what was written."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crucible.effects import Failure
from crucible.kitchen.handlers import mlflow
from crucible.telemetry.sinks import Ending
from crucible.testing import check_sink
from crucible.testing.sinks import sink_point
from tests.kitchen.handlers.mlflow.reading import read_run

pytestmark = [
    pytest.mark.slow,  # MLflow takes seconds to make its database
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow's use of SQLAlchemy 2.1
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def found(place: Path) -> Callable[[str], Any]:
    """Give a function that finds a run in MLflow by our id of it."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")

    def find(run_id: str) -> Any:
        experiments = [each.experiment_id for each in client.search_experiments()]
        [run] = [run for run in client.search_runs(experiments) if run.data.tags.get("crucible.run_id") == run_id]
        return run

    return find


def test_keeps_the_contract(place: Path) -> None:
    check_sink(lambda: mlflow.sink(place), lambda run_id: read_run(place, run_id), patience_seconds=0)


def test_infinite_values_are_named_in_a_tag_and_not_made_finite(place: Path, found: Callable[[str], Any]) -> None:
    for start in (0, 10):
        run = mlflow.sink(place).open("infinite").unwrap()
        values = [1.0, math.inf, math.nan, -math.inf]
        run.write([sink_point(start + n, value, step=start + n) for n, value in enumerate(values)], [])
        run.close("completed")
    assert found("infinite").data.tags["crucible.infinite.loss"] == "1: inf, 3: -inf, 11: inf, 13: -inf"
    points = [(step, value) for step, value in read_run(place, "infinite").points["loss"] if not math.isinf(value)]
    assert [step for step, _ in points] == [0, 2, 10, 12]
    assert [math.isnan(value) for _, value in points] == [False, True, False, True]


@pytest.mark.parametrize(
    ("ending", "status"), [("completed", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")]
)
def test_the_status_says_how_the_run_ended(
    place: Path, found: Callable[[str], Any], ending: Ending, status: str
) -> None:
    run = mlflow.sink(place, tags={"team": "red"}).open(f"ends {ending}").unwrap()
    assert found(f"ends {ending}").info.status == "RUNNING"
    run.close(ending)
    assert found(f"ends {ending}").info.status == status
    assert found(f"ends {ending}").data.tags["team"] == "red"
    mlflow.sink(place).open(f"ends {ending}")
    assert found(f"ends {ending}").info.status == "RUNNING"


def test_names_and_texts_that_mlflow_does_not_take_are_made_fit(place: Path, found: Callable[[str], Any]) -> None:
    run = mlflow.sink(place).open("names").unwrap()
    described = run.describe({"config": {"a$b": "x" * 7000, "../up": 1, "n" * 300: 2}})
    written = run.write(
        [sink_point(n, 1.0, name=name, step=0) for n, name in enumerate(("a(b)", "/abs", "a//b", "."))], []
    )
    assert not isinstance(described, Failure)
    assert not isinstance(written, Failure)
    data = found("names").data
    assert set(data.metrics) == {"a_b_", "_abs", "a__b", "_"}
    assert len(data.params["a_b"]) == 6000
    assert data.params["___up"] == "1"
    [artifact] = (place / "artifacts" / found("names").info.run_id / "artifacts").glob("metadata.json")
    assert "x" * 7000 in artifact.read_text()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    opened = mlflow.sink(tmp_path / "file").open("run")
    assert isinstance(opened, Failure)
    assert "FileExistsError" in str(opened.failure())


def test_what_the_sdk_raises_is_an_error(place: Path) -> None:
    from mlflow import MlflowClient

    run = mlflow.sink(place).open("deleted").unwrap()
    client = MlflowClient(f"sqlite:///{place / 'mlflow.db'}")
    [there] = client.search_runs(
        [each.experiment_id for each in client.search_experiments()],
        filter_string="tags.`crucible.run_id` = 'deleted'",
    )
    client.delete_run(there.info.run_id)
    result = run.write([sink_point(0, 1.0, step=0)], [])
    assert isinstance(result, Failure)
    assert "MlflowException" in str(result.failure())


@pytest.mark.parametrize("package", ["mlflow", "sqlalchemy"])
def test_needs_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"crucible-llm\[mlflow\]"):
        mlflow.sink(tmp_path)


def test_a_server_needs_no_database_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert mlflow.sink("http://localhost:5000").name == "mlflow in http://localhost:5000"
