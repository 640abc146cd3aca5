"""Where in a computation an effect stands: the same place in every run of it."""

from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]
"""Names of the enclosing scopes, outermost first, e.g. `("supervised", "epochs[0]", "forward_backward")`."""

UNRECORDED = "(unrecorded)"
"""The name of a scope whose calls are no part of a recording."""


def show_path(path: Path) -> str:
    """Write a path as one line.

    >>> show_path(("supervised", "epochs[0]", "#1"))
    'supervised/epochs[0]/#1'
    >>> show_path(())
    '/'

    A name with a slash in it reads as one name: no two paths are written the same.

    >>> show_path(("org/data", "#1"))
    'org%2Fdata/#1'
    """
    return "/".join(name.replace("%", "%25").replace("/", "%2F") for name in path) or "/"
