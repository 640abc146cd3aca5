"""The journal: what is in the file is what was written, up to where it is whole."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Entry, Failure, Journal, JournalError, Result, Success, UnrecordableError
from tests.effects.recordable import exactly, values

ROOT = Path(__file__).parents[2]

results: st.SearchStrategy[Result[object, object] | None] = st.one_of(
    st.builds(Success, values), st.builds(Failure, values), st.none()
)
entries = st.builds(
    Entry,
    path=st.text(min_size=1, max_size=4),
    call=st.sampled_from(["Work.say", "Work.pay"]),
    arguments=st.dictionaries(st.text(max_size=3), st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=2),
    result=results,
)
runs = st.lists(entries, max_size=5, unique_by=lambda entry: entry.path)


def entry(path: str, result: Result[object, object] | None = Success(1)) -> Entry:
    return Entry(path=path, call="Work.say", arguments={"word": ("d1", "'hello'")}, result=result)


def written(path: Path, run: list[Entry]) -> bytes:
    """Write entries to a new journal file and give its bytes."""
    path.unlink(missing_ok=True)
    with Journal.open(path) as journal:
        for each in run:
            journal.append(each)
    return path.read_bytes()


def read(path: Path) -> list[Entry]:
    with Journal.open(path) as journal:
        return list(journal)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("journals")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal"


class TestRoundTrip:
    @given(runs)
    def test_through_a_file_gives_the_same_entries(self, folder: Path, run: list[Entry]) -> None:
        written(folder / "round", run)
        assert [exactly(each) for each in read(folder / "round")] == [exactly(each) for each in run]

    @given(runs)
    def test_through_memory_gives_the_same_entries(self, run: list[Entry]) -> None:
        journal = Journal()
        for each in run:
            journal.append(each)
        assert list(journal) == run
        assert len(journal) == len(run)
        assert all(journal.at(each.path) is each for each in run)
        assert journal.at("nowhere") is None

    @given(runs, runs)
    def test_in_two_sittings_gives_both(self, folder: Path, first: list[Entry], second: list[Entry]) -> None:
        rest = [each for each in second if each.path not in {other.path for other in first}]
        written(folder / "two", first)
        with Journal.open(folder / "two") as journal:
            for each in rest:
                journal.append(each)
        assert [exactly(each) for each in read(folder / "two")] == [exactly(each) for each in [*first, *rest]]

    def test_makes_the_folder(self, path: Path) -> None:
        assert written(path, []) == b""


SMALL = [
    Entry(path="#1", call="a", arguments={}, result=Failure("no")),
    Entry(path="#2", call="b", arguments={}, result=Success(float("nan"))),
]


class TestDamage:
    def test_a_cut_at_any_byte_leaves_the_whole_frames(self, path: Path) -> None:
        data = written(path, SMALL)
        ends = [index + 1 for index, byte in enumerate(data) if byte == ord("\n")]
        for size in range(len(data) + 1):
            path.write_bytes(data[:size])
            whole = sum(end <= size for end in ends)
            assert [exactly(each) for each in read(path)] == [exactly(each) for each in SMALL[:whole]]
            assert path.read_bytes() == data[: [0, *ends][whole]]

    def test_a_flip_of_any_bit_leaves_the_frames_before_it(self, path: Path) -> None:
        data = written(path, SMALL)
        for bit in range(len(data) * 8):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            before = data[: bit // 8].count(b"\n")
            assert [exactly(each) for each in read(path)] == [exactly(each) for each in SMALL[:before]]

    @pytest.mark.parametrize("order", [[1, 0], [0, 0], [0, 0, 1], [1]])
    def test_frames_that_were_moved_are_not_read(self, path: Path, order: list[int]) -> None:
        frames = written(path, SMALL).splitlines(keepends=True)
        path.write_bytes(b"".join(frames[index] for index in order))
        assert len(read(path)) == (1 if order[0] == 0 else 0)

    def test_after_a_torn_tail_the_run_goes_on(self, path: Path) -> None:
        data = written(path, SMALL)
        path.write_bytes(data[:-5])
        with Journal.open(path) as journal:
            journal.append(entry("later"))
        assert [each.path for each in read(path)] == ["#1", "later"]

    def test_whole_frames_behind_the_damage_are_kept_beside_the_file(self, path: Path) -> None:
        first, *rest = written(path, SMALL).splitlines(keepends=True)
        behind = b"x" + b"".join(rest)
        path.write_bytes(first + behind)
        assert [each.path for each in read(path)] == ["#1"]
        assert path.with_name("journal.damaged").read_bytes() == behind

    def test_what_was_kept_before_stays(self, path: Path) -> None:
        for _ in range(2):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"damaged\n")
            read(path)
        assert path.with_name("journal.damaged").read_bytes() == b"damaged\n" * 2

    def test_a_torn_tail_is_nothing_to_keep(self, path: Path) -> None:
        path.write_bytes(written(path, SMALL)[:-5])
        read(path)
        assert [each.name for each in path.parent.iterdir()] == ["journal"]

    def test_a_class_that_is_gone_is_told_and_the_file_let_go(self, path: Path) -> None:
        from crucible.effects._journal import write_frame

        path.parent.mkdir()
        path.write_bytes(write_frame({"seq": 1, "kind": "done", "entry": {"$attrs": "gone:Gone"}}))
        for _ in range(2):  # a lock that was kept would say something else the second time
            with pytest.raises(UnrecordableError, match="gone:Gone"):
                Journal.open(path)


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Let files of this process grow to `size` and no further, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestAFullDisk:
    @pytest.mark.parametrize("room", [0, 1, 50])
    def test_leaves_the_file_whole_and_the_entry_out(self, path: Path, room: int) -> None:
        with Journal.open(path) as journal:
            journal.append(entry("#1"))
            size = path.stat().st_size
            with no_room_beyond(size + room), pytest.raises(OSError, match=r"part of a frame|File too large"):
                journal.append(entry("#2"))
            assert path.stat().st_size == size
            assert journal.at("#2") is None
            journal.append(entry("#2"))
        assert [each.path for each in read(path)] == ["#1", "#2"]

    def test_leaves_no_doubt_about_a_call_that_was_not_made(self, path: Path) -> None:
        with Journal.open(path) as journal:
            with no_room_beyond(10), pytest.raises(OSError, match=r"part of a frame|File too large"):
                journal.intend("#1", "Work.pay")
            assert journal.in_doubt == ()

    def test_what_it_left_is_cut_before_the_next_frame(self, path: Path) -> None:
        with Journal.open(path) as journal:
            journal.append(entry("#1"))
            with path.open("ab") as stray:
                stray.write(b"half a fr")
            journal.append(entry("#2"))
        assert [each.path for each in read(path)] == ["#1", "#2"]


class TestDoubt:
    def test_is_told_of_a_call_that_began_and_did_not_end(self, path: Path) -> None:
        with Journal.open(path) as journal:
            journal.intend("a/#1", "Work.pay")
            journal.intend("a/#2", "Work.pay")
            journal.append(entry("a/#1"))
            assert journal.in_doubt == ("Work.pay at a/#2",)
        with Journal.open(path) as journal:
            assert journal.in_doubt == ("Work.pay at a/#2",)

    def test_is_told_in_memory_too(self) -> None:
        journal = Journal()
        journal.intend("#1", "Work.pay")
        assert list(journal.in_doubt) == ["Work.pay at #1"]
        journal.append(entry("#1"))
        assert list(journal.in_doubt) == []

    def test_stays_with_a_call_that_was_cancelled_until_it_is_made_again(self, path: Path) -> None:
        with Journal.open(path) as journal:
            journal.intend("#1", "Work.pay")
            journal.append(entry("#1", None))
        with Journal.open(path) as journal:
            assert journal.in_doubt == ("Work.pay at #1",)
            journal.append(entry("#1", Success(2)))
        with Journal.open(path) as journal:
            assert journal.in_doubt == ()
            assert [each.result for each in journal] == [Success(2)]


class TestUse:
    def test_a_path_is_taken_once(self, path: Path) -> None:
        with Journal.open(path) as journal:
            journal.append(entry("#1"))
            with pytest.raises(JournalError, match="already holds a call at #1: one journal records one run"):
                journal.append(entry("#1"))
        assert len(read(path)) == 1

    def test_a_value_that_cannot_be_recorded_leaves_the_file_alone(self, path: Path) -> None:
        with Journal.open(path) as journal:
            with pytest.raises(UnrecordableError):
                journal.append(entry("#1", Success(object())))
            journal.append(entry("#1"))
        assert len(read(path)) == 1

    @pytest.mark.parametrize("use", [lambda j: j.append(entry("#1")), lambda j: j.intend("#1", "Work.pay")])
    def test_a_closed_journal_records_nothing_in_secret(self, path: Path, use: Callable[[Journal], None]) -> None:
        journal = Journal.open(path)
        journal.close()
        journal.close()
        with pytest.raises(JournalError, match="the journal is closed"):
            use(journal)

    def test_a_file_is_open_once(self, path: Path) -> None:
        with Journal.open(path), pytest.raises(JournalError, match="is open already"):
            Journal.open(path)
        Journal.open(path).close()

    def test_a_file_is_open_in_one_process(self, path: Path) -> None:
        program = f"from crucible.effects import Journal\nJournal.open({str(path)!r})"
        with Journal.open(path):
            second = subprocess.run(
                [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
            )
        assert second.returncode == 1
        assert "JournalError" in second.stderr
        assert os.fspath(path) in second.stderr


WITHOUT_LOCKS = """
import sys
sys.modules["fcntl"] = None
from crucible.effects import Journal, JournalError
assert len(Journal()) == 0
try:
    Journal.open(sys.argv[1])
except JournalError as error:
    print(error)
"""


def test_where_files_cannot_be_locked_only_files_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_LOCKS, str(tmp_path / "journal")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "a journal file needs the file locks of a POSIX system: use Journal(), in memory, here\n"
    assert list(tmp_path.iterdir()) == []
