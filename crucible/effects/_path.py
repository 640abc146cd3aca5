"""Where in a computation an effect stands: the same place in every run of it."""

from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]
"""Names of the enclosing scopes, outermost first, e.g. `("supervised", "epochs[0]", "forward_backward")`."""


def show_path(path: Path) -> str:
    """Write a path as one line.

    >>> show_path(("supervised", "epochs[0]", "#1"))
    'supervised/epochs[0]/#1'
    >>> show_path(())
    '/'
    """
    return "/".join(path) or "/"
