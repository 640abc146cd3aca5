"""Blobs on `fsspec`: in a folder, in memory, in an S3 bucket; needs the extra `blobs`, and for S3 the extra `s3`.

A write is whole or not there at all, whoever dies in the middle. Files are moved a piece at a time, so they may be larger than
memory. What the SDKs raise comes back as the port's errors; a key, a secret or a token is in none of them.
"""

from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers.blobs._places import FolderPlace, MemoryPlace
from crucible.kitchen.handlers.blobs._s3 import S3Config, S3Place
from crucible.kitchen.handlers.blobs._store import FsspecBlobs
from crucible.train.ports import BlobStore

__all__ = ["FolderPlace", "FsspecBlobs", "MemoryPlace", "S3Config", "S3Place", "folder", "memory", "s3"]


def folder(path: Path | str) -> Handlers[BlobStore]:
    """Handle blobs as the files of a folder, which is made with the first write.

    A blob is written beside its place, brought to the disk (fsync), then renamed; what a killed process leaves behind lies in
    `.incomplete`, is no blob, and may be deleted. A link that leads out of the folder is refused.
    """
    return BlobStore.handled_by(FsspecBlobs(FolderPlace(Path(path))))


def memory() -> Handlers[BlobStore]:
    """Handle blobs in memory, which live as long as these handlers."""
    return BlobStore.handled_by(FsspecBlobs(MemoryPlace()))


def s3(bucket: str, config: S3Config = S3Config(), *, prefix: str = "") -> Handlers[BlobStore]:
    """Handle blobs as the objects of an S3 bucket, or of anything that speaks its protocol.

    Nothing is tried twice here: a server that is busy or away is an `Unavailable`, and `effects.retry` is what waits.

    Args:
        bucket: has to be there.
        config: where, and with which credentials; without any, those that the AWS tools find.
        prefix: the blobs are those whose keys begin with it and a slash.

    Raises: ValueError for a bucket's name with a slash, or a prefix that is no blob path.
    """
    return BlobStore.handled_by(FsspecBlobs(S3Place(bucket, config, prefix=prefix)))
