"""Files that are whole or not there, whatever happens while they are written."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give the path of an empty file beside `target`, which takes its name and place at the end, or goes when that fails.

    At every moment `target` is the old file, or the new one, all of it on the disk.

    Raises: OSError when the file cannot be made or put there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "numbers.txt") as part:
    ...         _ = part.write_text("1 2 3")
    ...     [path.name for path in Path(folder).iterdir()]
    ['numbers.txt']
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    part.touch(exist_ok=False)
    try:
        yield part
        sync(part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk.

    Raises: OSError.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
