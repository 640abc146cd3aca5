"""The folder of an archive: files of JSON lines, and a manifest with the hash of each; whole, or not there.

The files are those of the JSON-lines stores, so that a folder can also be opened as a store (`JsonlEventStore(folder)`).
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import attrs

from crucible.effects import Failure, Result, Success, UnrecordableError
from crucible.storage import sync
from crucible.telemetry.errors import InvalidRecord, StoreError, StoreFailed
from crucible.telemetry.stores._records import (
    StoppedError,
    event_line,
    parsed,
    point_line,
    read_event,
    read_point,
    read_run,
    run_line,
)
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo

T = TypeVar("T")

MANIFEST = "manifest.json"
_FORMAT = "crucible experiment"
_VERSION = 1


@attrs.frozen(kw_only=True)
class ArchivedRun:
    """What the stores had of a run; nothing but its id, where its process died before it could tell anything."""

    info: RunInfo
    events: tuple[EventRecord, ...] = ()
    points: tuple[MetricPoint, ...] = ()


class Draft:
    """An archive that is being written, under another name than the one it will have."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
        self._files: dict[str, dict[str, str | int]] = {}
        self._ids: list[str] = []

    def add(self, run: ArchivedRun) -> Result[None, StoreError]:
        """Write what belongs to one id."""

        def write() -> None:
            if self._folder.exists():
                fix = "choose a folder that is not there yet"
                raise StoppedError(StoreFailed(path=str(self._folder), message="is there already", fix=fix))
            self._unfinished.mkdir(parents=True, exist_ok=True)
            run_id = run.info.run_id
            self._ids.append(run_id)
            events = [run_line(run.info), *(event_line(run_id, event) for event in run.events)]
            self._write(_events_name(run_id), b"".join(events))
            self._write(_points_name(run_id), b"".join(point_line(run_id, point) for point in run.points))

        return guarded(self._folder, write)

    def finish(self, *, anonymized: Sequence[str]) -> Result[str, StoreError]:
        """Write the manifest, give the folder its name, and give the hash of the manifest."""

        def write() -> str:
            experiment_id, *run_ids = self._ids
            manifest = {
                "format": _FORMAT,
                "version": _VERSION,
                "experiment": experiment_id,
                "runs": run_ids,
                "anonymized": list(anonymized),
                "files": self._files,
            }
            data = json.dumps(manifest, indent=2).encode()
            self._write(MANIFEST, data)
            sync(self._unfinished)
            self._unfinished.rename(self._folder)
            sync(self._folder.parent)
            return hashlib.sha256(data).hexdigest()

        return guarded(self._folder, write)

    def discard(self) -> None:
        """Delete what was not finished."""
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        path = self._unfinished / name
        path.write_bytes(data)
        sync(path)
        self._files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "num_bytes": len(data)}


def ids_in(folder: Path) -> Result[tuple[str, ...], StoreError]:
    """Give the id of the experiment in a folder, and those of its runs, after a check of the hash of each file."""

    def read() -> tuple[str, ...]:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != _FORMAT or manifest["version"] != _VERSION:
            raise ValueError(f"{manifest['format']!r} of version {manifest['version']!r} is not known here")
        ids = (str(manifest["experiment"]), *map(str, manifest["runs"]))
        for name in (name for id_ in ids for name in (_events_name(id_), _points_name(id_))):
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != manifest["files"][name]["sha256"]:
                raise ValueError(f"{name} is not the file that was written")
        return ids

    return guarded(folder, read)


def read_run_of(folder: Path, run_id: str) -> Result[ArchivedRun, StoreError]:
    """Read what a folder has of one id."""

    def read() -> ArchivedRun:
        events, points = folder / _events_name(run_id), folder / _points_name(run_id)
        first, *rest = events.read_bytes().splitlines()
        return ArchivedRun(
            info=parsed(first, read_run, path=str(events), number=1),
            events=tuple(parsed(line, read_event, path=str(events), number=i) for i, line in enumerate(rest, start=2)),
            points=tuple(
                parsed(line, read_point, path=str(points), number=i)
                for i, line in enumerate(points.read_bytes().splitlines(), start=1)
            ),
        )

    return guarded(folder, read)


def guarded(folder: Path, use: Callable[[], T]) -> Result[T, StoreError]:
    """Give what `use` gives; its errors as values."""
    try:
        return Success(use())
    except StoppedError as stopped:
        return Failure(stopped.error)
    except OSError as error:
        message = f"{error.strerror or error} ({error.filename})"
        return Failure(
            StoreFailed(path=str(folder), message=message, fix="look at the folder, its rights and the space")
        )
    except UnrecordableError as error:
        return Failure(InvalidRecord(message=str(error)))
    except (KeyError, TypeError, ValueError) as error:
        message = f"is no whole archive of an experiment: {error}"
        return Failure(StoreFailed(path=str(folder), message=message, fix="restore the folder, or archive again"))


def _events_name(run_id: str) -> str:
    return f"{quote(run_id.encode('utf-8', 'surrogatepass'), safe='')}.events.jsonl"


def _points_name(run_id: str) -> str:
    return f"{quote(run_id.encode('utf-8', 'surrogatepass'), safe='')}.metrics.jsonl"
