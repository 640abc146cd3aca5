"""The folder that a program works in, and how to be rid of whatever it makes there."""

import os
import tempfile
from pathlib import Path

ENTRY_BYTES = 4096
"""What a file, a folder or a link counts for besides its content."""


def make_workspace(source: bytes) -> Path:
    """Make a folder that only this user can enter, with the program in it.

    Raises: OSError.
    """
    folder = Path(tempfile.mkdtemp(prefix="crucible-code-"))
    (folder / "main.py").write_bytes(source)
    return folder


def holds_more(folder: Path, most_bytes: int) -> bool:
    """Tell whether the files below `folder` come to more than `most_bytes`; what lies too deep to be looked at does."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += ENTRY_BYTES + entry.stat(follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it was deleted meanwhile
        except OSError:
            return True  # a path longer than the system takes, or a folder that nobody may enter
        if total > most_bytes:
            return True
    return False


def remove_workspace(folder: Path) -> None:
    """Delete a folder, however deep a program made it: each level is first moved up to the top, so no path is long.

    Raises: OSError.
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        number = 0
        while names := os.listdir(root):  # noqa: PTH208  # by descriptor
            for name in names:
                try:
                    os.unlink(name, dir_fd=root)
                except (IsADirectoryError, PermissionError):  # the second on systems other than Linux
                    number = _lift(root, name, number)
                    os.rmdir(name, dir_fd=root)
    finally:
        os.close(root)
    folder.rmdir()


def _lift(root: int, name: str, number: int) -> int:
    """Move what stands in a folder up to `root`, under names that nothing has; give the number of the last."""
    os.chmod(name, 0o700, dir_fd=root)
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    try:
        for child in os.listdir(inner):  # noqa: PTH208  # by descriptor
            number += 1
            while _is_there(root, f"lifted-{number}"):
                number += 1
            os.rename(child, f"lifted-{number}", src_dir_fd=inner, dst_dir_fd=root)
    finally:
        os.close(inner)
    return number


def _is_there(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
