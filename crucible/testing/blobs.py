"""The contract of `BlobStore`, as a suite that any handler can be put through."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import obey, refused, require_equal
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import BlobStore
from crucible.train.types import BlobInfo

Law: TypeAlias = Do[TrainError, BlobStore, None]

ODD_BYTES = (b"", b"\0", b"\r\n\xff\xfe text", bytes(range(256)) * 300)
"""Bytes that a store which takes them for text would change."""


def check_blob_store(make: Callable[[], Handlers[BlobStore]], *, prefix: str = "contract") -> None:
    """Put the handlers that `make` gives through the contract of `BlobStore`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        prefix: a folder in which there is nothing, and in which each law cleans up behind itself.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "what is written is read, byte for byte, whole and in part": _reading(prefix),
        "files go in and come out as they are, and the checksum is that of the bytes": _files(prefix),
        "writing again replaces": _replacing(prefix),
        "blobs are listed by prefix, sorted by path": _listing(prefix),
        "what is deleted is gone, and deleting again is no error": _deleting(prefix),
        "what is not there is not found": _missing(prefix),
        "a path out of the store is refused": _bad_paths(prefix),
    }
    obey(make, laws)


@do
def _reading(prefix: str) -> Law:
    for index, data in enumerate(ODD_BYTES):
        path = f"{prefix}/a folder/blob {index}.bin"
        info = yield from perform(BlobStore.write, path, data)
        require_equal(info, BlobInfo(path=path, size_bytes=len(data)), "what was written")
        require_equal((yield from perform(BlobStore.read, path)), data, "what is read")
        for offset, length in ((0, 0), (0, 7), (3, 5), (len(data), 4), (len(data) + 9, 4), (0, len(data) + 9)):
            part = yield from perform(BlobStore.read_range, path, offset=offset, length=length)
            require_equal(part, data[offset : offset + length], f"{length} bytes from byte {offset} on")
        yield from perform(BlobStore.delete, path)


@do
def _files(prefix: str) -> Law:
    path = f"{prefix}/files/model.bin"
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        for data in ODD_BYTES:
            source.write_bytes(data)
            info = BlobInfo(path=path, size_bytes=len(data))
            require_equal((yield from perform(BlobStore.upload, path, str(source))), info, "what was uploaded")
            require_equal((yield from perform(BlobStore.read, path)), data, "what is read of a file")
            digest = hashlib.sha256(data).hexdigest()
            require_equal((yield from perform(BlobStore.checksum, path)), digest, "the checksum")
            require_equal((yield from perform(BlobStore.download, path, str(target))), info, "what was downloaded")
            require_equal(target.read_bytes(), data, "the file downloaded")
        yield from perform(BlobStore.delete, path)
        yield from refused("downloading what is not there", perform(BlobStore.download, path, str(target)), NotFound)
        require_equal(target.read_bytes(), ODD_BYTES[-1], "the file after a download that failed")
        require_equal(sorted(Path(folder).iterdir()), [source, target], "the files in the folder")
        nothing = perform(BlobStore.upload, path, str(Path(folder, "none")))
        yield from refused("uploading a file that is not there", nothing, NotFound)
        require_equal((yield from perform(BlobStore.exists, path)), False, "whether there is a blob of no file")
        into = perform(BlobStore.upload, path, folder)
        yield from refused("uploading a folder", into, InvalidRequest)


@do
def _replacing(prefix: str) -> Law:
    path = f"{prefix}/again"
    for data in (b"a long text, the first", b"short"):
        yield from perform(BlobStore.write, path, data)
        require_equal((yield from perform(BlobStore.read, path)), data, "what is read")
    yield from perform(BlobStore.delete, path)


@do
def _listing(prefix: str) -> Law:
    sizes = {f"{prefix}/b": 1, f"{prefix}/a/y": 2, f"{prefix}/a/x": 3, f"{prefix}/ab": 4}
    for path, size in sizes.items():
        yield from perform(BlobStore.write, path, b"x" * size)
    for start in (f"{prefix}/", f"{prefix}/a", f"{prefix}/a/", f"{prefix}/a/x/", f"{prefix}/none", f"{prefix}/../"):
        expected = tuple(BlobInfo(path=p, size_bytes=sizes[p]) for p in sorted(sizes) if p.startswith(start))
        require_equal((yield from perform(BlobStore.list_blobs, start)), expected, f"the blobs below {start!r}")
    for path in sizes:
        yield from perform(BlobStore.delete, path)
    require_equal((yield from perform(BlobStore.list_blobs, f"{prefix}/")), (), "the blobs after deleting all")


@do
def _deleting(prefix: str) -> Law:
    path = f"{prefix}/deleted"
    yield from perform(BlobStore.write, path, b"x")
    require_equal((yield from perform(BlobStore.exists, path)), True, "whether there is a blob")
    for _ in range(2):
        yield from perform(BlobStore.delete, path)
    require_equal((yield from perform(BlobStore.exists, path)), False, "whether there is a blob")


@do
def _missing(prefix: str) -> Law:
    path = f"{prefix}/missing"
    require_equal((yield from perform(BlobStore.exists, path)), False, "whether there is a blob")
    yield from refused("reading what is not there", perform(BlobStore.read, path), NotFound)
    reading = perform(BlobStore.read_range, path, offset=0, length=1)
    yield from refused("reading a part of what is not there", reading, NotFound)
    yield from refused("the checksum of what is not there", perform(BlobStore.checksum, path), NotFound)
    yield from perform(BlobStore.write, f"{prefix}/folder/blob", b"x")
    require_equal((yield from perform(BlobStore.exists, f"{prefix}/folder")), False, "whether a folder is a blob")
    yield from refused("reading a folder", perform(BlobStore.read, f"{prefix}/folder"), NotFound)
    yield from perform(BlobStore.delete, f"{prefix}/folder")
    require_equal((yield from perform(BlobStore.read, f"{prefix}/folder/blob")), b"x", "what is in the folder deleted")
    yield from perform(BlobStore.delete, f"{prefix}/folder/blob")
    yield from perform(BlobStore.write, f"{prefix}/folder", b"y")
    yield from perform(BlobStore.delete, f"{prefix}/folder")


@do
def _bad_paths(prefix: str) -> Law:
    for path in ("", "/etc/passwd", f"{prefix}/../../x", f"{prefix}//x", f"{prefix}/", ".", "a\0b"):
        yield from refused(f"writing to {path!r}", perform(BlobStore.write, path, b"x"), InvalidRequest)
        yield from refused(f"reading {path!r}", perform(BlobStore.read, path), InvalidRequest)
        yield from refused(f"deleting {path!r}", perform(BlobStore.delete, path), InvalidRequest)
        yield from refused(f"asking for {path!r}", perform(BlobStore.exists, path), InvalidRequest)
        yield from refused(f"the checksum of {path!r}", perform(BlobStore.checksum, path), InvalidRequest)
        yield from refused(f"uploading to {path!r}", perform(BlobStore.upload, path, __file__), InvalidRequest)
        yield from refused(f"downloading {path!r}", perform(BlobStore.download, path, "/none/x"), InvalidRequest)
    yield from perform(BlobStore.write, f"{prefix}/x", b"")
    below = perform(BlobStore.read_range, f"{prefix}/x", offset=-1, length=1)
    yield from refused("reading from byte -1 on", below, InvalidRequest)
    yield from perform(BlobStore.delete, f"{prefix}/x")
