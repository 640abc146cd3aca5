"""Weights & Biases as a sink: one W&B run for each time a run is opened."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crucible.effects import Json, Result, Success
from crucible.telemetry.errors import StoreError
from crucible.telemetry.sinks import Ending, Sink, SinkRun, flat_metadata, guarded, log_rows, samples_in
from crucible.telemetry.types import EventRecord, MetricPoint

if TYPE_CHECKING:
    from wandb import Run

STEP = "crucible/step"
"""The metric that charts are over: W&B drops what is logged at an earlier step of its own."""

FLUSH_SECONDS = 0.5
"""How often W&B's own process writes to the disk what it has been given; W&B itself takes 15."""

_EXIT_CODES: Mapping[Ending, int] = {"completed": 0, "failed": 1, "interrupted": 130}


class WandbSink(Sink):
    """Writes `<folder>/wandb/offline-run-*`, or to the service."""

    def __init__(self, project: str, folder: Path, mode: Literal["offline", "online"], tags: Sequence[str]) -> None:
        self._project = project
        self._folder = folder
        self._mode = mode
        self._tags = tags

    @property
    def name(self) -> str:
        return f"wandb project {self._project}"

    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        return guarded(self.name, lambda: self._opened(run_id))

    def _opened(self, run_id: str) -> SinkRun:
        # W&B writes to its working folder only where it may, and elsewhere where it may not.
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(f"no right to write in {self._folder}")
        with _quiet_environment(self._folder.resolve() if self._mode == "offline" else None):
            import wandb

            run = wandb.init(
                project=self._project,
                dir=str(self._folder),
                id=_legal(run_id),
                name=run_id,
                mode=self._mode,
                tags=list(self._tags),
                resume="allow" if self._mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    disable_git=True,
                    disable_code=True,
                    disable_job_creation=True,
                    save_code=False,
                    x_disable_stats=True,
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                    x_save_requirements=False,
                    x_transaction_log_flush_interval=FLUSH_SECONDS,
                ),
            )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        return _WandbRun(self.name, run)


def _legal(run_id: str) -> str:
    """Give W&B's id of a run: its own where W&B takes it."""
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", run_id):
        return run_id
    return hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class _WandbRun(SinkRun):
    def __init__(self, name: str, run: "Run") -> None:
        self._name = name
        self._run = run

    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        def update() -> None:
            self._run.config.update(flat_metadata(metadata), allow_val_change=True)  # type: ignore[no-untyped-call]  # wandb

        return guarded(self._name, update)

    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._log(points, events))

    def flush(self) -> Result[None, StoreError]:
        """Do nothing: W&B's own process has it, outlives this one, and writes it within `FLUSH_SECONDS`."""
        return Success(None)

    def close(self, ending: Ending) -> Result[None, StoreError]:
        return guarded(self._name, lambda: self._run.finish(exit_code=_EXIT_CODES[ending]))

    def _log(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> None:
        for row in log_rows(points):
            step = {} if row.step is None else {STEP: row.step}
            self._run.log({**row.values, **step, "_timestamp": row.timestamp.timestamp()})
        for sample in samples_in(events):
            texts = {"prompt": sample.prompt, "answer": sample.answer, "expected": sample.expected}
            shown = {f"sample/{name}": text for name, text in texts.items()}
            self._run.log({**shown, STEP: sample.step, "_timestamp": sample.timestamp.timestamp()})


@contextmanager
def _quiet_environment(folder: Path | None) -> Iterator[None]:
    """Keep W&B from reporting errors home, and below a folder where one is given, while it starts."""
    ours = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    if folder is not None:
        inside = {
            name: str(folder / "wandb" / "own") for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR")
        }
        ours = {**ours, **inside}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
