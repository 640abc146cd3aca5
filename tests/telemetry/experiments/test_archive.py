"""Archives: whole or not there, equal to what was in the stores, and the originals forgotten only after that."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.effects import Call, Failure, Handlers, Proceed, Result, perform
from crucible.telemetry.errors import CorruptRecord, InvalidRecord, StoreFailed, StoreUnavailable, UnknownRun
from crucible.telemetry.experiments import (
    Anonymize,
    Archive,
    ArchivedRun,
    Design,
    WrongStatus,
    add_run,
    annotate,
    archive,
    get_experiment,
    read_archive,
    start_experiment,
    stop,
    tag,
)
from crucible.telemetry.experiments.archive import Stores as Both
from crucible.telemetry.ports import EventStore, MetricsStore
from crucible.telemetry.stores import JsonlEventStore, JsonlMetricsStore, SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint, RunInfo
from tests.kitchen.fakes import Stores, call_number, fails_with, meddling
from tests.telemetry.test_stores import START, json_values, plain, points

DESIGN = Design(name="lr", metadata={"user": "ada", "deep": [{"user": "ada"}]}, tags=("a",))
SALT = "correct horse"


def stopped(stores: Handlers[Both], runs: Sequence[ArchivedRun] = ()) -> Handlers[Both]:
    stores.run(start_experiment(DESIGN, experiment_id="exp", at=START)).unwrap()
    for run in runs:
        run_id = run.info.run_id
        stores.run(add_run("exp", run_id)).unwrap()
        stores.run(perform(EventStore.open_run, run_id, metadata=run.info.metadata)).unwrap()
        stores.run(perform(EventStore.insert, run_id, run.events)).unwrap()
        stores.run(perform(MetricsStore.record, run_id, run.points)).unwrap()
    stores.run(stop("exp")).unwrap()
    return stores


def a_run(run_id: str, user: str = "ada") -> ArchivedRun:
    event = EventRecord(name="told", timestamp=START, attributes={"user": user, "step": 1}, sequence=1)
    point = MetricPoint(name="loss", value=float("nan"), timestamp=START, sequence=9, metadata={"user": user})
    return ArchivedRun(
        info=RunInfo(run_id=run_id, metadata={"recipe": "sft"}), events=(event,), points=(*plain(3), point)
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Round trips


@given(points(), st.dictionaries(st.text(max_size=5), json_values, max_size=3), st.text(min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_what_is_read_is_what_was_in_the_stores(
    tmp_path_factory: pytest.TempPathFactory, batch: list[MetricPoint], attributes: dict[str, object], run_id: str
) -> None:
    event = EventRecord(name="told", timestamp=START, attributes=attributes, sequence=3)  # type: ignore[arg-type]  # JSON, drawn
    in_order = tuple(sorted(batch, key=lambda point: point.sequence))
    run = ArchivedRun(info=RunInfo(run_id=f"r{run_id}"), events=(event,), points=in_order)
    stores = stopped(Stores().handlers(), [run])
    folder = tmp_path_factory.mktemp("archives") / "it"
    before = stores.run(get_experiment("exp")).unwrap()
    after = stores.run(archive("exp", folder)).unwrap()
    assert read_archive(folder).unwrap() == Archive(experiment=before, runs=(run,))
    assert (after.status, after.archive) == ("archived", str(folder))


def test_an_archive_opens_as_a_store(tmp_path: Path) -> None:
    stores = stopped(Stores().handlers(), [a_run("run/1"), a_run("run/2")])
    before = stores.run(get_experiment("exp")).unwrap()
    stores.run(archive("exp", tmp_path / "it")).unwrap()
    opened = EventStore.handled_by(JsonlEventStore(tmp_path / "it")) | MetricsStore.handled_by(
        JsonlMetricsStore(tmp_path / "it")
    )
    assert opened.run(get_experiment("exp")).unwrap() == before
    assert opened.run(perform(MetricsStore.read, "run/2")).unwrap() == a_run("run/2").points
    manifest = json.loads((tmp_path / "it" / "manifest.json").read_text())
    assert (manifest["experiment"], manifest["runs"]) == ("exp", ["run/1", "run/2"])
    assert files(tmp_path / "it") == sorted([*manifest["files"], "manifest.json"])
    assert files(tmp_path) == ["it"], "nothing unfinished is left"


def test_a_run_that_never_told_anything_is_kept_by_its_id(tmp_path: Path) -> None:
    stores = Stores().handlers()
    stores.run(start_experiment(DESIGN, experiment_id="exp")).unwrap()
    stores.run(add_run("exp", "died")).unwrap()
    stores.run(stop("exp")).unwrap()
    stores.run(archive("exp", tmp_path / "it", delete_runs=True)).unwrap()
    assert read_archive(tmp_path / "it").unwrap().runs == (ArchivedRun(info=RunInfo(run_id="died")),)


# What is refused


def test_only_what_is_stopped_is_archived_and_only_once(tmp_path: Path) -> None:
    stores = Stores().handlers()
    stores.run(start_experiment(DESIGN, experiment_id="exp")).unwrap()
    assert str(stores.run(archive("exp", tmp_path / "it")).failure()).endswith("it is running: stop it first")
    stores.run(stop("exp")).unwrap()
    stores.run(archive("exp", tmp_path / "it")).unwrap()
    for eff in (archive("exp", tmp_path / "other"), tag("exp", "x"), annotate("exp", {"x": 1}), stop("exp")):
        error = stores.run(eff).failure()
        assert isinstance(error, WrongStatus)
        assert f"read it from {tmp_path / 'it'}" in str(error)
    assert files(tmp_path) == ["it"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    stores = stopped(Stores().handlers(), [a_run("run")])
    error = stores.run(archive("exp", tmp_path / "it", delete_runs=True)).failure()
    assert isinstance(error, StoreFailed)
    assert "is there already" in str(error)
    assert (files(tmp_path), files(tmp_path / "it")) == (["it"], [])
    assert stores.run(get_experiment("exp")).unwrap().status == "stopped"
    assert stores.run(perform(EventStore.query, "run")).unwrap() == a_run("run").events


@pytest.mark.parametrize("operation", ["MetricsStore.read", "EventStore.query", "EventStore.list_runs"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_store_that_fails_leaves_no_folder_or_a_whole_one(operation: str, number: int, tmp_path: Path) -> None:
    down = StoreUnavailable(message="down")
    stores = stopped(Stores().handlers(), [a_run("run")])
    broken = meddling(stores, call_number(operation, number), fails_with(down))
    assert broken.run(archive("exp", tmp_path / "it", delete_runs=True)) == Failure(down)
    assert stores.run(perform(EventStore.query, "run")).unwrap() == a_run("run").events, "nothing is forgotten"
    if files(tmp_path):
        assert files(tmp_path) == ["it"]
        assert read_archive(tmp_path / "it").unwrap().runs == (a_run("run"),)


def test_a_place_that_cannot_be_written_and_a_value_that_is_no_json_are_typed_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stores = stopped(Stores().handlers(), [a_run("run")])
    error = stores.run(archive("exp", tmp_path / "file" / "it")).failure()
    assert isinstance(error, StoreFailed)
    assert "Not a directory" in str(error)
    odd = EventRecord(name="odd", timestamp=START, attributes={"x": object()}, sequence=5)  # type: ignore[dict-item]  # no JSON
    stores.run(perform(EventStore.insert, "run", [odd])).unwrap()
    assert isinstance(stores.run(archive("exp", tmp_path / "it")).failure(), InvalidRecord)
    assert files(tmp_path) == ["file"]


def test_an_archive_that_was_changed_is_not_read(tmp_path: Path) -> None:
    stopped_ = stopped(Stores().handlers(), [a_run("run")])
    stopped_.run(archive("exp", tmp_path / "it")).unwrap()
    path = tmp_path / "it" / "run.metrics.jsonl"
    path.write_bytes(path.read_bytes().replace(b"loss", b"lass"))
    error = read_archive(tmp_path / "it").failure()
    assert "run.metrics.jsonl is not the file that was written: restore the folder" in str(error)
    path.unlink()
    assert "run.metrics.jsonl" in str(read_archive(tmp_path / "it").failure())


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("{", "is no whole archive"),
        ("{}", "is no whole archive of an experiment: 'format'"),
        ('{"format": "crucible experiment", "version": 2}', "of version 2 is not known"),
        ('{"format": "crucible experiment", "version": 1, "experiment": "../x", "runs": []}', "No such file"),
    ],
)
def test_what_is_no_archive_is_told(manifest: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    assert said in str(read_archive(tmp_path).failure())


def test_an_archive_whose_files_are_no_experiment_is_told(tmp_path: Path) -> None:
    from crucible.telemetry.experiments.folder import Draft, read_run_of

    draft = Draft(tmp_path / "it")
    draft.add(a_run("exp")).unwrap()
    draft.finish(anonymized=()).unwrap()
    assert "has no experiment" in str(read_archive(tmp_path / "it").failure())
    (tmp_path / "it" / "exp.metrics.jsonl").write_text("nonsense\n")
    assert isinstance(read_run_of(tmp_path / "it", "exp").failure(), CorruptRecord)


# Forgetting


def test_runs_are_forgotten_after_they_were_archived_and_the_experiment_stays(tmp_path: Path) -> None:
    on_disk = EventStore.handled_by(SqliteEventStore(tmp_path / "s")) | MetricsStore.handled_by(
        SqliteMetricsStore(tmp_path / "s")
    )
    stores = stopped(on_disk, [a_run("run-1"), a_run("run-2")])
    found = stores.run(archive("exp", tmp_path / "it", delete_runs=True)).unwrap()
    assert (found.status, found.run_ids) == ("archived", ("run-1", "run-2"))
    assert [run.run_id for run in stores.run(perform(EventStore.list_runs)).unwrap()] == ["exp"]
    assert read_archive(tmp_path / "it").unwrap().runs == (a_run("run-1"), a_run("run-2"))
    assert isinstance(stores.run(perform(MetricsStore.read, "run-1")).failure(), UnknownRun)


def test_a_run_that_goes_on_while_it_is_archived_is_not_forgotten(tmp_path: Path) -> None:
    stores = stopped(Stores().handlers(), [a_run("run")])

    async def write_more(call: Call, proceed: Proceed) -> Result[object, object]:
        answer = await proceed(call)
        more = EventRecord(name="more", timestamp=START, sequence=77)
        (await stores.arun(perform(EventStore.insert, "run", [more]))).unwrap()
        return answer

    busy = meddling(stores, call_number("EventStore.query", 3), write_more)
    error = busy.run(archive("exp", tmp_path / "it", delete_runs=True)).failure()
    assert "run 'run' changed meanwhile: wait until its process has ended" in str(error)
    assert files(tmp_path) == []
    assert stores.run(get_experiment("exp")).unwrap().status == "stopped"
    assert len(stores.run(perform(EventStore.query, "run")).unwrap()) == 2


def test_what_happens_to_the_experiment_meanwhile_is_in_the_archive(tmp_path: Path) -> None:
    stores = stopped(Stores().handlers(), [a_run("run")])

    async def tag_it(call: Call, proceed: Proceed) -> Result[object, object]:
        (await stores.arun(tag("exp", "late"))).unwrap()
        return await proceed(call)

    busy = meddling(stores, call_number("EventStore.insert", 1), tag_it)
    assert busy.run(archive("exp", tmp_path / "it")).unwrap().status == "archived"
    assert read_archive(tmp_path / "it").unwrap().experiment.tags == ("a", "late")


# Names that nobody is to read


def test_named_values_are_hashed_everywhere_and_the_rest_stays(tmp_path: Path) -> None:
    stores = stopped(Stores().handlers(), [a_run("run-1"), a_run("run-2", user="bob")])
    stores.run(archive("exp", tmp_path / "it", anonymize=Anonymize(keys={"user", "name"}, salt=SALT))).unwrap()
    everything = b"".join(path.read_bytes() for path in (tmp_path / "it").iterdir())
    assert b'"ada"' not in everything
    assert b'"bob"' not in everything
    assert SALT.encode() not in everything
    found = read_archive(tmp_path / "it").unwrap()
    ada, bob = (run.events[0].attributes["user"] for run in found.runs)
    assert str(ada).startswith("anonymous:")
    assert ada != bob
    assert found.experiment.metadata == {"user": ada, "deep": [{"user": ada}]}
    assert found.experiment.name == "lr", "the experiment's own fields are what it is"
    assert found.runs[0].points[3].metadata == {"user": ada}
    assert found.runs[0].events[0].attributes["step"] == 1
    assert json.loads((tmp_path / "it" / "manifest.json").read_text())["anonymized"] == ["name", "user"]


def test_another_salt_gives_other_hashes_and_a_short_one_is_refused() -> None:
    one, other = (Anonymize(keys={"user"}, salt=salt).mapping({"user": "ada"}) for salt in (SALT, SALT + "!"))
    assert one != other
    with pytest.raises(ValueError, match="salt"):
        Anonymize(keys={"user"}, salt="short")
    assert SALT not in repr(Anonymize(keys={"user"}, salt=SALT))
