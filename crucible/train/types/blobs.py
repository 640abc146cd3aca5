"""Bytes under a path."""

from pathlib import PurePosixPath

import attrs


@attrs.frozen(kw_only=True)
class BlobInfo:
    """What a store knows of a blob without reading it."""

    path: str
    size_bytes: int


def is_blob_path(path: str) -> bool:
    """Tell whether a store takes `path`: relative, parts divided by single slashes, no `.` or `..` among them.

    >>> is_blob_path("runs/1/report.json"), is_blob_path("../secrets"), is_blob_path("a//b"), is_blob_path("")
    (True, False, False, False)
    """
    parts = path.split("/")
    return "\0" not in path and str(PurePosixPath(path)) == path and not {"", ".", ".."} & set(parts)
