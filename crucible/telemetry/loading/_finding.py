"""Where runs are: from a run id, a folder or a file, as a person types it, to the files of one run."""

import difflib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

import attrs

from crucible.effects import Failure, Result, Success

Format: TypeAlias = Literal["sqlite", "jsonl"]

_ENDINGS: tuple[tuple[str, Format], ...] = (
    (".sqlite", "sqlite"),
    (".events.jsonl", "jsonl"),
    (".metrics.jsonl", "jsonl"),
)
_SHOWN = 8


@attrs.frozen(kw_only=True, order=True)
class RunPlace:
    """Where the telemetry of one run is.

    Args:
        run_id: of the run.
        folder: that holds its files.
        format: of these files.
    """

    run_id: str
    folder: Path
    format: Format


@attrs.frozen(kw_only=True)
class RunNotFound:
    """Nothing, or more than one run, is what was asked for.

    Args:
        asked: what was typed.
        folder: where it was looked for.
        there: the ids of the runs in that folder.
    """

    asked: str
    folder: Path
    there: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.there:
            return f"no run {self.asked!r}: {self.folder} has no runs (say where they are with --runs FOLDER)"
        near = difflib.get_close_matches(self.asked, self.there, n=3, cutoff=0.5)
        if near:
            return f"no run {self.asked!r} in {self.folder}: did you mean {' or '.join(near)}?"
        shown = ", ".join(self.there[-_SHOWN:])
        more = f" and {len(self.there) - _SHOWN} others" if len(self.there) > _SHOWN else ""
        return f"no run {self.asked!r} in {self.folder}: the runs there are {shown}{more}"


@attrs.frozen(kw_only=True)
class SeveralRuns:
    """A folder, or the beginning of an id, fits several runs: where each is."""

    asked: str
    places: tuple[RunPlace, ...]

    @property
    def fitting(self) -> tuple[str, ...]:
        """The ids of the runs."""
        return tuple(place.run_id for place in self.places)

    def __str__(self) -> str:
        more = f" and {len(self.fitting) - _SHOWN} others" if len(self.fitting) > _SHOWN else ""
        return f"{self.asked!r} fits {len(self.fitting)} runs: {', '.join(self.fitting[:_SHOWN])}{more}: name one"


def find_runs(folder: Path | str) -> tuple[RunPlace, ...]:
    """Give the runs whose files are in a folder, or in the folders right below it, sorted by id; files that cannot be read too.

    Of a run that is there twice, the copy nearest to `folder` counts (an archive keeps copies), and the database before its
    JSON lines.

    >>> find_runs("no/such/folder")
    ()
    """
    folder = Path(folder)
    there, below = (tuple(dict.fromkeys(_places(sorted(folder.glob(pattern))))) for pattern in ("*", "*/*"))
    nearest = (*there, *(place for place in below if place.run_id not in {each.run_id for each in there}))
    databases = {(place.run_id, place.folder) for place in nearest if place.format == "sqlite"}
    return tuple(sorted(it for it in nearest if it.format == "sqlite" or (it.run_id, it.folder) not in databases))


def find_run(asked: str, *, runs: Path | str = "runs") -> Result[RunPlace, RunNotFound | SeveralRuns]:
    """Give the place of one run.

    Args:
        asked: a run's id or the beginning of it, a folder that holds one run, or a run's file.
        runs: where ids are looked for: a folder of runs, or of folders of runs.
    """
    path, runs = Path(asked), Path(runs)
    if path.is_file():
        found = next(_places([path]), None)
        return Failure(RunNotFound(asked=asked, folder=path.parent)) if found is None else Success(found)
    known = find_runs(runs)
    fitting = [place for place in known if place.run_id == asked]
    if not fitting and path.is_dir():
        return _the_one(asked, find_runs(path), path)
    return _the_one(asked, fitting or [place for place in known if asked and place.run_id.startswith(asked)], runs)


def _the_one(asked: str, fitting: Sequence[RunPlace], folder: Path) -> Result[RunPlace, RunNotFound | SeveralRuns]:
    if len(fitting) == 1:
        return Success(fitting[0])
    if fitting:
        return Failure(SeveralRuns(asked=asked, places=tuple(fitting)))
    there = tuple(place.run_id for place in find_runs(folder))
    return Failure(RunNotFound(asked=asked, folder=folder, there=there))


def _places(paths: Sequence[Path]) -> Iterator[RunPlace]:
    for path in paths:
        for ending, kind in _ENDINGS:
            name = path.name.removesuffix(ending)
            if name and name != path.name and path.is_file() and (kind == "jsonl" or _holds_a_run(path)):
                run_id = unquote_to_bytes(name).decode("utf-8", "surrogatepass")
                yield RunPlace(run_id=run_id, folder=path.parent, format=kind)


def _holds_a_run(path: Path) -> bool:
    """Tell whether a database has the tables of a run: a registry, say, has others. One that is damaged may have had them."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            wanted = "SELECT count(*) FROM sqlite_master WHERE name IN ('run', 'events', 'points')"
            [found] = connection.execute(wanted).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return True
    return bool(found == 3)  # the three tables named above
