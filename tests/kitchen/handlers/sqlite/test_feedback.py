"""Feedback in SQLite keeps its contract, and what it acknowledged, whoever writes beside it or dies; exports replace nothing."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Handlers, Result, gather, perform
from crucible.kitchen.errors import AlreadyExists, KitchenError
from crucible.kitchen.handlers import hf, noop, sqlite
from crucible.kitchen.handlers.noop import DEFAULT_EXCHANGES
from crucible.kitchen.ports import (
    CuratedExample,
    CurationOptions,
    DriftStatus,
    Exchange,
    ExportOptions,
    FeedbackClient,
    TriggerThresholds,
)
from crucible.testing import check_feedback_client
from crucible.train.errors import InvalidRequest, NotFound, StorageFailed, Unsupported
from crucible.train.ports import DatasetStore

ONE = Exchange(id="1", prompt="2 + 2?", response="5", score=0.9)
OPTIONS = ExportOptions(path="live/today.jsonl")
EVERYTHING = CurationOptions(limit=100_000, include_trained=True)

RECORD_MANY = """
import sys
import anyio
from crucible.kitchen.handlers import sqlite
from crucible.kitchen.ports import Exchange

async def main(path, name, count):
    for number in range(int(count)):
        exchange = Exchange(id=f"{name}{number}", prompt="p", response="r")
        (await sqlite.record_exchanges(path, "live", [exchange])).unwrap()
        print(exchange.id, flush=True)

anyio.run(main, *sys.argv[1:])
"""


def recording(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RECORD_MANY, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def recorded(path: Path, exchanges: Sequence[Exchange], deployment: str = "live") -> Result[None, KitchenError]:
    return anyio.run(sqlite.record_exchanges, path, deployment, exchanges)


def handler(folder: Path, *exchanges: Exchange) -> Handlers[FeedbackClient]:
    if exchanges:
        recorded(folder / "feedback", exchanges).unwrap()
    return sqlite.feedback(folder / "feedback", folder / "exports")


def curated(feedback: Handlers[FeedbackClient], options: CurationOptions = EVERYTHING) -> tuple[CuratedExample, ...]:
    return feedback.run(perform(FeedbackClient.curate, "live", options)).unwrap()


def ids(feedback: Handlers[FeedbackClient], options: CurationOptions = EVERYTHING) -> set[str]:
    return {example.event_id for example in curated(feedback, options)}


def exported(feedback: Handlers[FeedbackClient], examples: Sequence[CuratedExample]) -> str:
    return feedback.run(perform(FeedbackClient.export, "live", examples, OPTIONS)).unwrap().path


def test_the_contract_is_kept_and_exports_are_datasets(tmp_path: Path) -> None:
    folders = iter(range(99))

    def make() -> Handlers[FeedbackClient | DatasetStore]:
        folder = tmp_path / "not" / "made" / str(next(folders))
        feedback = handler(folder, *DEFAULT_EXCHANGES[:8])
        feedback.run(perform(FeedbackClient.update_baseline, "live")).unwrap()
        return handler(folder, *DEFAULT_EXCHANGES[8:]) | hf.datasets()

    check_feedback_client(make, deployment_id="live", missing="dead")


def test_it_measures_and_curates_as_noop_does(tmp_path: Path) -> None:
    feedback = handler(tmp_path, *DEFAULT_EXCHANGES[:8])
    feedback.run(perform(FeedbackClient.update_baseline, "live")).unwrap()
    feedback = handler(tmp_path, *DEFAULT_EXCHANGES[8:])
    for question in (
        perform(FeedbackClient.curate, "live"),
        perform(FeedbackClient.get_drift_status, "live"),
        perform(FeedbackClient.get_quality_metrics, "live"),
        perform(FeedbackClient.check_triggers, "live", TriggerThresholds(drift=0.01, num_examples=8)),
    ):
        assert feedback.run(question).unwrap() == noop.feedback().run(question).unwrap()


def test_drift_is_how_far_the_words_moved(tmp_path: Path) -> None:
    feedback = handler(tmp_path, attrs.evolve(ONE, prompt="a A b b", response="x"))
    assert feedback.run(perform(FeedbackClient.get_drift_status, "live")).unwrap() == DriftStatus(
        input_drift=0.0, output_drift=0.0
    )
    feedback.run(perform(FeedbackClient.update_baseline, "live")).unwrap()
    feedback = handler(tmp_path, Exchange(id="2", prompt="a c", response="y"))
    assert feedback.run(perform(FeedbackClient.get_drift_status, "live")).unwrap() == DriftStatus(
        input_drift=0.5, output_drift=1.0
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
exchanges = st.builds(
    Exchange, id=texts, prompt=texts, response=texts, edited_response=st.none() | texts, score=st.floats(0, 1)
)


def test_every_exchange_comes_back_as_it_was(tmp_path: Path) -> None:
    folders = iter(range(10_000))

    @given(st.lists(exchanges, min_size=1, max_size=4, unique_by=lambda exchange: exchange.id))
    def kept(some: list[Exchange]) -> None:
        given_noop = noop.feedback(exchanges={"live": some})
        assert curated(handler(tmp_path / str(next(folders)), *some)) == curated(given_noop)

    kept()


def test_what_a_user_says_later_is_kept_and_the_answer_stays(tmp_path: Path) -> None:
    feedback = handler(tmp_path, ONE, attrs.evolve(ONE, edited_response="4", score=0.1))
    [example] = curated(feedback)
    assert (example.response, example.rejected, example.score) == ("4", "5", 0.1)
    both = [attrs.evolve(ONE, id="2"), attrs.evolve(ONE, response="6")]
    assert isinstance(recorded(tmp_path / "feedback", both).failure(), AlreadyExists)
    assert curated(feedback) == (example,)  # all or none


def test_deployments_are_apart(tmp_path: Path) -> None:
    feedback = handler(tmp_path, ONE)
    recorded(tmp_path / "feedback", [attrs.evolve(ONE, response="other")], "second").unwrap()
    feedback.run(perform(FeedbackClient.update_baseline, "second", trained_on=curated(feedback))).unwrap()
    assert ids(feedback, CurationOptions()) == {"1"}
    assert feedback.run(perform(FeedbackClient.get_quality_metrics, "live")).unwrap().count == 1
    assert feedback.run(perform(FeedbackClient.get_quality_metrics, "second")).unwrap().count == 0


def test_a_baseline_outlives_its_handler_and_another_handler_sees_it(tmp_path: Path) -> None:
    first, second = handler(tmp_path, ONE, attrs.evolve(ONE, id="2")), handler(tmp_path)
    for trained in curated(first):
        other = first if trained.event_id == "1" else second
        other.run(perform(FeedbackClient.update_baseline, "live", trained_on=[trained])).unwrap()
    for feedback in (first, second, handler(tmp_path)):
        assert ids(feedback, CurationOptions()) == set()
        assert ids(feedback) == {"1", "2"}
        assert feedback.run(perform(FeedbackClient.get_quality_metrics, "live")).unwrap().count == 0


def test_several_processes_may_record(tmp_path: Path) -> None:
    writers = [recording(tmp_path / "feedback", name, 10) for name in "ab"]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert ids(handler(tmp_path)) == {f"{name}{number}" for name in "ab" for number in range(10)}


def test_a_process_that_is_killed_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    with recording(tmp_path / "feedback", "a", 10_000) as writer:
        assert writer.stdout is not None
        acknowledged = {writer.stdout.readline().strip() for _ in range(20)}
        writer.send_signal(signal.SIGKILL)
        acknowledged |= set(writer.stdout.read().split())
    assert acknowledged <= ids(handler(tmp_path))


def test_exports_replace_nothing_and_leave_nothing_else_behind(tmp_path: Path) -> None:
    feedback = handler(tmp_path, ONE, attrs.evolve(ONE, id="2", prompt="3 + 3?"))
    examples, folder = curated(feedback), tmp_path / "exports" / "live"
    (folder / "today~2.jsonl").mkdir(parents=True)
    assert exported(feedback, examples) == str(folder / "today.jsonl")
    assert exported(feedback, examples[:1]) == str(folder / "today~3.jsonl")
    assert exported(feedback, examples) == str(folder / "today.jsonl")
    assert {path.name for path in folder.iterdir()} == {"today.jsonl", "today~2.jsonl", "today~3.jsonl"}
    assert len([json.loads(line) for line in (folder / "today.jsonl").read_text().splitlines()]) == 2


def test_exports_at_once_under_one_name_are_all_there(tmp_path: Path) -> None:
    feedback = handler(tmp_path, *(attrs.evolve(ONE, id=str(number), prompt=f"{number}?") for number in range(8)))
    writes = [perform(FeedbackClient.export, "live", [example], OPTIONS) for example in curated(feedback)]
    done = feedback.run(gather(writes)).unwrap()
    assert len({Path(each.path).read_bytes() for each in done}) == len({each.path for each in done}) == 8


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (ExportOptions(path="../x.jsonl"), InvalidRequest),
        (ExportOptions(path="x.parquet", format="parquet"), Unsupported),
        (ExportOptions(path="file/x.jsonl"), (InvalidRequest, StorageFailed)),
    ],
    ids=["outside", "parquet", "below a file"],
)
def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, options: ExportOptions, kind: type | tuple[type, ...]
) -> None:
    feedback = handler(tmp_path, ONE)
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "file").write_text("")
    export = perform(FeedbackClient.export, "live", curated(feedback), options)
    assert isinstance(feedback.run(export).failure(), kind)
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["file"]


def test_half_a_character_is_refused_and_a_score_is_from_0_to_1(tmp_path: Path) -> None:
    broken = recorded(tmp_path / "feedback", [ONE, attrs.evolve(ONE, id="2", prompt="\ud800")])
    assert isinstance(broken.failure(), InvalidRequest)
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="score"):
            attrs.evolve(ONE, score=score)


def test_looking_makes_no_file(tmp_path: Path) -> None:
    error = handler(tmp_path).run(perform(FeedbackClient.curate, "live")).failure()
    assert isinstance(error, NotFound)
    assert "record_exchanges" in str(error)
    assert list(tmp_path.iterdir()) == []


def damage(path: Path) -> list[str]:
    feedback = sqlite.feedback(path, path.parent)
    questions = (perform(FeedbackClient.curate, "live"), perform(FeedbackClient.export, "live", (), OPTIONS))
    errors = [feedback.run(question).failure() for question in questions]
    errors.append(feedback.run(perform(FeedbackClient.update_baseline, "live")).failure())
    errors.append(recorded(path, [ONE]).failure())
    assert {type(error) for error in errors} == {StorageFailed}
    return [str(error) for error in errors]


def test_a_damaged_file_and_one_of_another_kind_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "feedback"
    path.write_bytes(b"no database at all" * 1000)
    assert all("damaged" in text and str(path) in text for text in damage(path))
    path.unlink()
    recorded(path, [ONE]).unwrap()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    assert all("damaged" in text for text in damage(path))
    path.write_bytes(content)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id=7")
    connection.close()
    assert all("of something else" in text for text in damage(path))
