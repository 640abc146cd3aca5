"""Archives: an experiment and all that the stores have of its runs, in one folder."""

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import attrs

from crucible.effects import Do, Failure, Json, Result, Success, attempt, do, fail, from_result, perform
from crucible.telemetry.errors import StoreError, StoreFailed, UnknownRun
from crucible.telemetry.experiments.errors import LifecycleError
from crucible.telemetry.experiments.events import ExperimentArchived, RunsForgotten
from crucible.telemetry.experiments.folder import ArchivedRun, Draft, ids_in, read_run_of
from crucible.telemetry.experiments.lifecycle import act, get_experiment, inserted, when
from crucible.telemetry.experiments.record import Experiment, experiment_of
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.types import EventRecord, RunInfo, exact

Stores: TypeAlias = EventStore | MetricsStore


def _names(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(keys)


@attrs.frozen(kw_only=True)
class Archive:
    """What an archive holds: the experiment as it was when it was archived, and its runs in their order."""

    experiment: Experiment
    runs: tuple[ArchivedRun, ...]


@attrs.frozen(kw_only=True)
class Anonymize:
    """What is not to be read in an archive.

    The values of these keys, in the metadata of experiment, runs and points and in the attributes of events, however deep, are
    replaced by a hash: equal values by the same one. Who knows neither the salt nor the value finds neither out. Texts
    that name the value under another key stay as they are.
    """

    keys: frozenset[str] = attrs.field(converter=_names)
    salt: str = attrs.field(validator=attrs.validators.min_len(8), repr=False)

    def mapping(self, values: Mapping[str, Json]) -> dict[str, Json]:
        """Replace what is not to be read.

        >>> hidden = Anonymize(keys={"user"}, salt="correct horse").mapping({"user": "ada", "deep": [{"user": "ada"}]})
        >>> hidden["user"][:10], hidden["deep"][0]["user"] == hidden["user"]
        ('anonymous:', True)
        """
        return {key: self._hash(value) if key in self.keys else self._inside(value) for key, value in values.items()}

    def run(self, run: ArchivedRun) -> ArchivedRun:
        """Replace it in everything of a run."""
        return ArchivedRun(
            info=attrs.evolve(run.info, metadata=self.mapping(run.info.metadata)),
            events=tuple(attrs.evolve(event, attributes=self.mapping(event.attributes)) for event in run.events),
            points=tuple(attrs.evolve(point, metadata=self.mapping(point.metadata)) for point in run.points),
        )

    def experiment(self, experiment: ArchivedRun) -> ArchivedRun:
        """Replace it in the metadata and the environment of an experiment: its own fields make it what it is."""

        def event(it: EventRecord) -> EventRecord:
            inside = {"metadata", "environment"}
            fields = {key: self._inside(value) if key in inside else value for key, value in it.attributes.items()}
            return attrs.evolve(it, attributes=fields)

        return attrs.evolve(experiment, events=tuple(map(event, experiment.events)))

    def _inside(self, value: Json) -> Json:
        if isinstance(value, Mapping):
            return self.mapping(value)
        return [self._inside(each) for each in value] if isinstance(value, list) else value

    def _hash(self, value: Json) -> str:
        key = hashlib.sha256(self.salt.encode()).digest()
        return f"anonymous:{hashlib.blake2b(exact(value).encode(), key=key, digest_size=12).hexdigest()}"


@do
def archive(
    experiment_id: str,
    folder: Path | str,
    *,
    anonymize: Anonymize | None = None,
    delete_runs: bool = False,
    at: datetime | None = None,
) -> Do[StoreError | LifecycleError, Stores, Experiment]:
    """Write a stopped experiment, its runs, their events and points to a folder, read them again, and note it.

    The folder is whole or not there. Every number comes back bit for bit. With `delete_runs` both stores then forget the
    runs.

    Fails: WrongStatus when the experiment is not stopped; StoreFailed when the folder is there already, or when a run was
        still being written.
    """
    path = Path(folder).absolute()
    while True:
        experiment = yield from get_experiment(experiment_id)
        yield from from_result(when("archive", ("stopped",), None)(experiment))
        manifest = yield from _written(experiment, path, anonymize)
        event = ExperimentArchived(folder=str(path), sha256=manifest)
        if (yield from inserted(experiment_id, experiment.next_number, event, at or datetime.now(UTC))):
            break
        shutil.rmtree(path)  # something happened to the experiment meanwhile: the folder lacks it
    if not delete_runs:
        return (yield from get_experiment(experiment_id))
    for run_id in experiment.run_ids:
        yield from perform(MetricsStore.delete_run, run_id)
        yield from perform(EventStore.delete_run, run_id)
    forgotten = RunsForgotten(num_runs=len(experiment.run_ids))
    return (yield from act(experiment_id, lambda it: Success(forgotten), at=at))


def read_archive(folder: Path | str) -> Result[Archive, StoreError]:
    """Read an archive, every file of which is what was written.

    Fails: StoreFailed when it is not whole, or no archive; CorruptRecord for a line that cannot be read.
    """
    return ids_in(Path(folder)).bind(lambda ids: _read(Path(folder), ids))


def _read(folder: Path, ids: Iterable[str]) -> Result[Archive, StoreError]:
    found: list[ArchivedRun] = []
    for id_ in ids:
        run = read_run_of(folder, id_)
        if isinstance(run, Failure):
            return Failure(run.failure())
        found.append(run.unwrap())
    of_it, *runs = found
    experiment = experiment_of(of_it.info.run_id, of_it.events)
    if experiment is None:
        return Failure(StoreFailed(path=str(folder), message="has no experiment", fix="archive again"))
    return Success(Archive(experiment=experiment, runs=tuple(runs)))


@do
def _written(
    experiment: Experiment, folder: Path, anonymize: Anonymize | None
) -> Do[StoreError | LifecycleError, Stores, str]:
    """Write the folder one run after the other, and compare it with the stores; give the hash of its manifest."""
    ids = (experiment.id, *experiment.run_ids)
    draft = Draft(folder)
    try:
        for id_ in ids:
            kept = yield from _kept(id_, experiment, anonymize)
            yield from from_result(draft.add(kept))
        manifest = yield from from_result(draft.finish(anonymized=sorted(anonymize.keys) if anonymize else ()))
    finally:
        draft.discard()
    yield from from_result(ids_in(folder))
    for id_ in experiment.run_ids:
        kept = yield from _kept(id_, experiment, anonymize)
        if (yield from from_result(read_run_of(folder, id_))) != kept:
            shutil.rmtree(folder)
            fix = "wait until its process has ended, and archive again"
            yield from fail(StoreFailed(path=str(folder), message=f"run {id_!r} changed meanwhile", fix=fix))
    return manifest


@do
def _kept(id_: str, experiment: Experiment, anonymize: Anonymize | None) -> Do[StoreError, Stores, ArchivedRun]:
    """Give what the stores have of an id."""
    known = {run.run_id: run for run in (yield from perform(EventStore.list_runs))}
    events = (yield from perform(EventStore.query, id_)) if id_ in known else ()
    read = yield from attempt(perform(MetricsStore.read, id_))
    unknown = isinstance(read, Failure) and isinstance(read.failure(), UnknownRun)
    points = () if unknown else (yield from from_result(read))
    kept = ArchivedRun(info=known.get(id_, RunInfo(run_id=id_)), events=events, points=points)
    if anonymize is None:
        return kept
    return anonymize.experiment(kept) if id_ == experiment.id else anonymize.run(kept)
