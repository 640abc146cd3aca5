"""Blobs in a folder stay in it, and are whole whoever writes, reads or dies meanwhile."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.effects import Eff, Handlers, Result, both, gather, perform
from crucible.kitchen.handlers import blobs
from crucible.kitchen.handlers.blobs._errors import of_folder, of_s3
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, StorageFailed, TrainError
from crucible.train.ports import BlobStore

WRITE_FOR_EVER = """
import sys
from crucible.effects import perform
from crucible.kitchen.handlers import blobs
from crucible.train.ports import BlobStore

store = blobs.folder(sys.argv[1])
while True:
    for byte in b"ab":
        store.run(perform(BlobStore.write, "x", bytes([byte]) * 3_000_000)).unwrap()
        print("written", flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Handlers[BlobStore]:
    return blobs.folder(tmp_path / "blobs")


def paths(store: Handlers[BlobStore], prefix: str = "") -> list[str]:
    return [info.path for info in store.run(perform(BlobStore.list_blobs, prefix)).unwrap()]


def test_a_writer_that_is_killed_leaves_a_whole_blob_and_no_other(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, tmp_path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    store = blobs.folder(tmp_path)
    assert store.run(perform(BlobStore.read, "x")).unwrap() in {b"a" * 3_000_000, b"b" * 3_000_000}
    assert paths(store) == ["x"]


def test_readers_see_the_old_bytes_or_the_new_ones(store: Handlers[BlobStore]) -> None:
    each = [bytes([number]) * 200_000 for number in range(8)]
    store.run(perform(BlobStore.write, "x", each[0])).unwrap()
    writing = gather([perform(BlobStore.write, "x", data) for data in each])
    reading = gather([perform(BlobStore.read, "x") for _ in range(8)])
    _, found = store.run(both(writing, reading)).unwrap()
    assert all(data in each for data in found)


def test_writing_and_deleting_neighbours_at_once_loses_nothing(store: Handlers[BlobStore]) -> None:
    for _ in range(20):
        work: list[Eff[object, TrainError, BlobStore]] = [perform(BlobStore.write, "a/b/kept", b"x")]
        work += [perform(BlobStore.delete, "a/b/gone"), perform(BlobStore.write, "a/c", b"x")]
        store.run(perform(BlobStore.write, "a/b/gone", b"")).unwrap()
        store.run(gather(work)).unwrap()
        assert paths(store) == ["a/b/kept", "a/c"]
        store.run(perform(BlobStore.delete, "a/b/kept")).unwrap()


def test_a_link_that_leads_out_is_refused_and_not_listed(tmp_path: Path, store: Handlers[BlobStore]) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "file").symlink_to(tmp_path / "secret")
    (tmp_path / "blobs" / "folder").symlink_to(tmp_path)
    store.run(perform(BlobStore.write, "mine", b"x")).unwrap()
    (tmp_path / "blobs" / "inside").symlink_to(tmp_path / "blobs" / "mine")
    for path in ("file", "folder/secret"):
        for operation in (
            perform(BlobStore.read, path),
            perform(BlobStore.write, path, b"x"),
            perform(BlobStore.delete, path),
            perform(BlobStore.checksum, path),
        ):
            result: Result[object, TrainError] = store.run(operation)
            assert isinstance(result.failure(), InvalidRequest)
    assert paths(store) == ["inside", "mine"]
    assert paths(store, "folder/") == []
    assert (tmp_path / "secret").read_text() == "secret"


def test_what_is_being_written_is_no_blob(tmp_path: Path, store: Handlers[BlobStore]) -> None:
    store.run(perform(BlobStore.write, "a", b"x")).unwrap()
    (tmp_path / "blobs" / ".incomplete" / "left").write_text("half")
    assert paths(store) == ["a"]
    assert isinstance(store.run(perform(BlobStore.read, ".incomplete/left")).failure(), InvalidRequest)


def test_two_blobs_that_cannot_both_be_files_are_refused(store: Handlers[BlobStore]) -> None:
    store.run(perform(BlobStore.write, "a/b", b"x")).unwrap()
    for path in ("a", "a/b/c"):
        assert isinstance(store.run(perform(BlobStore.write, path, b"y")).failure(), InvalidRequest)
    assert store.run(perform(BlobStore.read, "a/b")).unwrap() == b"x"
    assert paths(store) == ["a/b"]


@pytest.mark.parametrize("path", ["x" * 300, "\ud800"], ids=["too long", "half a character"])
def test_a_name_that_no_file_can_have_is_refused(store: Handlers[BlobStore], path: str) -> None:
    assert isinstance(store.run(perform(BlobStore.write, path, b"")).failure(), InvalidRequest)


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.ENOSPC, StorageFailed, "free some space"),
        (errno.EACCES, StorageFailed, "rights"),
        (errno.ENOENT, NotFound, ""),
    ],
)
def test_what_a_disk_says_becomes_an_error_that_says_what_to_do(number: int, kind: type, hint: str) -> None:
    error = of_folder(OSError(number, os.strerror(number)), "a")
    assert isinstance(error, kind)
    assert hint in str(error)


def test_a_disk_full_while_downloading_is_no_fault_of_the_service() -> None:
    error = of_s3(OSError(errno.ENOSPC, "x" * 999), "a", secrets=())
    assert isinstance(error, StorageFailed)
    assert len(str(error)) < 400


def test_a_target_in_no_folder_or_that_is_a_folder_is_refused(tmp_path: Path, store: Handlers[BlobStore]) -> None:
    store.run(perform(BlobStore.write, "a", b"x")).unwrap()
    for target, kind in ((tmp_path / "none" / "x", NotFound), (tmp_path / "blobs", InvalidRequest)):
        error = store.run(perform(BlobStore.download, "a", str(target))).failure()
        assert isinstance(error, kind)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs"]


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: tuple[tuple[str, Handlers[BlobStore], str], ...] = (
        ("fsspec.implementations.local", blobs.folder(tmp_path), "blobs"),
        ("s3fs", blobs.s3("bucket"), "s3"),
    )
    for module, store, extra in made:
        monkeypatch.setitem(sys.modules, module, None)
        error = store.run(perform(BlobStore.read, "a")).failure()
        assert isinstance(error, MissingExtra)
        assert error.extra == extra
