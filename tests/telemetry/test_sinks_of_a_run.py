"""A real run on handlers that need nothing, fanned out to every tracker at once, one of them broken."""

import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import pytest

from crucible.effects import perform
from crucible.kitchen import Recipe, RunResult, run
from crucible.kitchen.handlers import mlflow, tensorboard, trackio, wandb
from crucible.kitchen.workflows import supervised
from crucible.telemetry.events import SampleShown
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.sinks import SinkContent, SinkProblem, fan_out
from crucible.telemetry.types import EventFilter
from tests.kitchen.handlers.mlflow.reading import read_run as read_mlflow
from tests.kitchen.handlers.tensorboard.reading import read_run as read_tensorboard
from tests.kitchen.handlers.trackio.reading import FOLDER
from tests.kitchen.handlers.trackio.reading import read_run as read_trackio
from tests.kitchen.handlers.wandb.reading import read_run as read_wandb
from tests.kitchen.workflows.small import BASE, HELD_OUT, handlers_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # MLflow's use of SQLAlchemy 2.1
]

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")

recipe = Recipe(
    name="small",
    description="Trains on nothing.",
    workflow=supervised,
    default_config=attrs.evolve(BASE, epochs=2, batch_size=2, evaluation=HELD_OUT, eval_every=2),
)


def series(points: Mapping[str, Sequence[tuple[int | None, float]]]) -> dict[str, list[tuple[int | None, float]]]:
    """Give what was measured, in 32 bits, which is what TensorBoard keeps."""
    return {
        name: [(step, struct.unpack("f", struct.pack("f", value))[0]) for step, value in pairs]
        for name, pairs in points.items()
    }


def eventually(read: Callable[[], SinkContent], num_points: int) -> SinkContent:
    """Read until all points are there: W&B's own process may still be writing."""
    content = read()
    for _ in range(200):
        if sum(map(len, content.points.values())) >= num_points:
            break
        time.sleep(0.05)
        content = read()
    return content


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder to MLflow: making a database takes it seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.mark.parametrize("broken", TRACKERS)
def test_a_run_reaches_every_tracker_but_the_broken_one_which_is_named(
    tmp_path: Path, database: Path, broken: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    places = {name: database if name == "mlflow" else tmp_path / name for name in TRACKERS} | {
        broken: tmp_path / "file"
    }
    project = "registry-refused" if broken == "trackio" else f"run-{broken}"
    problems = list[SinkProblem]()
    handlers = fan_out(
        handlers_of(),
        tensorboard.sink(places["tensorboard"]),
        wandb.sink("small", folder=places["wandb"]),
        mlflow.sink(places["mlflow"], experiment=f"without {broken}"),
        trackio.sink(project, folder=FOLDER),
        on_problem=problems.append,
    )
    result = run(recipe, handlers, run_id="evening").unwrap()
    assert isinstance(result, RunResult)
    assert result.telemetry_problems == ()
    assert {problem.sink.split()[0] for problem in problems} == {broken}
    assert problems[-1].num_lost > 0

    stored = handlers.run(perform(MetricsStore.read, "evening")).unwrap()
    samples = handlers.run(perform(EventStore.query, "evening", EventFilter(name=SampleShown.NAME))).unwrap()
    points: dict[str, list[tuple[int | None, float]]] = {}
    for point in stored:
        points.setdefault(point.name, []).append((point.step, point.value))
    reading: dict[str, Callable[[], SinkContent]] = {
        "tensorboard": lambda: read_tensorboard(places["tensorboard"], "evening"),
        "wandb": lambda: read_wandb(places["wandb"], "evening"),
        "mlflow": lambda: read_mlflow(places["mlflow"], "evening", experiment=f"without {broken}"),
        "trackio": lambda: read_trackio(project, "evening"),
    }
    assert len(stored) > 40
    for name in set(TRACKERS) - {broken}:
        content = eventually(reading[name], len(stored))
        assert series(content.points) == series(points), name
        assert len(content.samples) == len(samples) > 0, name
        assert (content.metadata["recipe"], content.metadata["learning_rate"]) == ("small", "0.001"), name
