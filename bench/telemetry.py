"""What telemetry costs: 100,000 points told by a run and kept in SQLite, beside four trackers that log the same, in one run.

Each repetition is a process of its own; importing and opening are not timed, closing is. Prints medians, and ratios to ours; no
time fails the program. `python bench/telemetry.py`, see bench/README.md.
"""

import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Never, TypeAlias

import attrs

from crucible.effects import Do, Interpret, do, perform, pure, tell, telling_to
from crucible.kitchen.writer import StoreWriter
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import InMemoryEventStore, SqliteEventStore, SqliteMetricsStore

STEPS = 20_000
NAMES = ("loss", "grad_norm", "learning_rate", "tokens", "reward")
REPETITIONS = {"ours": 5, "ours, points": 5, "tensorboardX": 3, "wandb offline": 3, "trackio": 5, "mlflow sqlite": 2}
RUN = "bench"

Told: TypeAlias = Sequence[tuple[int, dict[str, float]]]


@attrs.frozen(kw_only=True)
class Step:
    """An event with five numbers, as stages tell them."""

    METRICS: ClassVar[str] = ""
    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: float
    reward: float


def numbers() -> Iterator[tuple[int, dict[str, float]]]:
    """Give each step and its five numbers."""
    for step in range(STEPS):
        yield step, {name: math.sin(step * (index + 1)) for index, name in enumerate(NAMES)}


def sdk(name: str) -> Any:
    """Import a library that is measured: only its own process needs it."""
    return importlib.import_module(name)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# Each writes what is told into a folder, and gives the seconds it took.


def ours(folder: Path, told: Told) -> float:
    return through_a_run(folder, told, SqliteEventStore(folder))


def ours_alone(folder: Path, told: Told) -> float:
    return through_a_run(folder, told, InMemoryEventStore())


def through_a_run(folder: Path, told: Told, events: EventStore) -> float:
    handlers = MetricsStore.handled_by(SqliteMetricsStore(folder)) | EventStore.handled_by(events)
    handlers.run(perform(EventStore.open_run, RUN)).unwrap()

    @do
    def training() -> Do[Never, Never, None]:
        for step, values in told:
            yield from tell(Step(step=step, **values))

    def writer(interpret: Interpret[MetricsStore | EventStore]) -> StoreWriter:
        return StoreWriter(RUN, interpret, clock=lambda: datetime.now(UTC))

    work = telling_to(writer, training())
    return timed(lambda: handlers.run(work))


def tensorboardx(folder: Path, told: Told) -> float:
    writer = sdk("tensorboardX").SummaryWriter(str(folder))

    def write() -> None:
        for step, values in told:
            for name, value in values.items():
                writer.add_scalar(name, value, step)
        writer.close()

    return timed(write)


def wandb(folder: Path, told: Told) -> float:
    library = sdk("wandb")
    settings = library.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True, disable_git=True)
    run = library.init(project="bench", dir=str(folder), mode="offline", settings=settings)

    def write() -> None:
        for step, values in told:
            run.log(values, step=step)
        run.finish()

    return timed(write)


def trackio(folder: Path, told: Told) -> float:
    library = sdk("trackio")
    library.init(project="bench", name=RUN, embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def write() -> None:
        for step, values in told:
            library.log(values, step=step)
        library.finish()

    return timed(write)


def mlflow(folder: Path, told: Told) -> float:
    metric = sdk("mlflow.entities").Metric
    client = sdk("mlflow").MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run = client.create_run(client.create_experiment("bench", artifact_location=folder.as_uri())).info.run_id

    def write() -> None:
        waiting: list[object] = []
        for step, values in told:
            now = int(time.time() * 1000)
            waiting += [metric(name, value, now, step) for name, value in values.items()]
            if len(waiting) == 1000:
                client.log_batch(run, metrics=waiting)
                waiting.clear()
        client.set_terminated(run)

    return timed(write)


# Each reads one series of what is in a folder.


def read_ours(folder: Path) -> float:
    handlers = MetricsStore.handled_by(SqliteMetricsStore(folder))
    handlers.run(pure(None))  # the first run of a process imports the event loop
    return timed(lambda: require(handlers.run(perform(MetricsStore.read, RUN, name="loss")).unwrap()))


def read_trackio(folder: Path) -> float:
    storage = sdk("trackio.sqlite_storage").SQLiteStorage
    return timed(lambda: require(storage.get_logs("bench", RUN)))


def read_mlflow(folder: Path) -> float:
    client = sdk("mlflow").MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    [run] = client.search_runs([client.get_experiment_by_name("bench").experiment_id])
    return timed(lambda: require(client.get_metric_history(run.info.run_id, "loss")))


def require(found: Sequence[object]) -> None:
    """Make sure that a series came back whole."""
    if len(found) != STEPS:
        raise SystemExit(f"{len(found)} points came back, not {STEPS}")


WRITE: Mapping[str, Callable[[Path, Told], float]] = {
    "ours": ours,
    "ours, points": ours_alone,
    "tensorboardX": tensorboardx,
    "wandb offline": wandb,
    "trackio": trackio,
    "mlflow sqlite": mlflow,
}
READ: Mapping[str, Callable[[Path], float]] = {
    "ours": read_ours,
    "ours, points": read_ours,
    "trackio": read_trackio,
    "mlflow sqlite": read_mlflow,
}


def work(what: str, way: str, folder: Path) -> None:
    """Measure one thing in this process, and print what it took as the last line."""
    with redirect_stdout(sys.stderr):
        seconds = WRITE[way](folder, list(numbers())) if what == "write" else READ[way](folder)
    print(json.dumps(seconds))


def measured(way: str) -> tuple[float, float]:
    """Measure writing and then reading, where the way has a reader, each in a process of its own."""
    with TemporaryDirectory() as folder:
        writing = in_a_process("write", way, folder)
        return writing, in_a_process("read", way, folder) if way in READ else math.nan


def in_a_process(what: str, way: str, folder: str) -> float:
    quiet = {"HOME": folder, "TRACKIO_DIR": folder, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, __file__, what, way, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **quiet})
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure all ways in turn, and print a table."""
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in WRITE}
    for number in range(max(REPETITIONS.values())):
        for way, times in REPETITIONS.items():
            if number < times:
                took[way].append(measured(way))
    base = statistics.median(writing for writing, _ in took["ours"])
    print(f"{STEPS * len(NAMES):,} points, {len(NAMES)} names over {STEPS:,} steps; medians of processes")
    print(f"  {'':<14} {'writing':>10} {'spread':>19} {'points/s':>10} {'to ours':>9} {'one series read':>17}")
    for way, pairs in took.items():
        writing = statistics.median(each for each, _ in pairs)
        reading = statistics.median(each for _, each in pairs)
        spread = f"{min(pairs)[0]:.2f} to {max(pairs)[0]:.2f} s"
        read = "" if math.isnan(reading) else f"{reading * 1e3:.1f} ms"
        rate = STEPS * len(NAMES) / writing
        print(f"  {way:<14} {writing:>8.2f} s {spread:>19} {rate:>10,.0f} {writing / base:>8.2f}x {read:>17}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments:
        work(arguments[0], arguments[1], Path(arguments[2]))
    else:
        main()
