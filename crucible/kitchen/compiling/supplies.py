"""`Supply`: handlers that a part of a spec brings, made when the folders of a run are known."""

from collections.abc import Callable, Iterable
from functools import reduce
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from typing import Never, TypeAlias

import attrs

from crucible.effects import Handlers, Port
from crucible.ir import Problem


@attrs.frozen(kw_only=True)
class Places:
    """Where things are kept: `runs` holds all runs, `run` is the folder of this one."""

    runs: Path
    run: Path


@attrs.frozen(kw_only=True)
class Supply:
    """Handlers, and what they are.

    Args:
        said: what a plan says of them.
        make: makes them; making performs nothing.
        is_service: whether they answer from outside of this process's own files: what reliability is about.
    """

    said: str
    make: Callable[[Places], Handlers[Never]]
    is_service: bool = False

    @property
    def ports(self) -> frozenset[type[Port]]:
        """The ports that they handle."""
        return self.make(Places(runs=Path("runs"), run=Path("runs") / "run")).ports


Found: TypeAlias = Supply | Problem
"""What a part of a spec gives: handlers, or what is wrong with it."""


def together(handlers: Iterable[Handlers[Never]]) -> Handlers[Never]:
    """Join handlers; where several handle a port, the last do."""
    return reduce(or_, handlers, Handlers.none())


def missing_extra(extra: str, *packages: str, path: str) -> Problem | None:
    """Say which package of an extra is not installed; None when all are. Nothing is imported."""
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return None
    message = f"needs {', '.join(missing)}, which is not installed"
    return Problem(path=path, message=message, fix=f"pip install 'crucible-llm[{extra}]'")
