"""What the interpreter carries along: what all branches of a run share, and the place where each of them is."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import attrs
from returns.result import Result

from crucible.effects._path import Path
from crucible.effects._port import Port

Answer: TypeAlias = Callable[..., Awaitable[Result[Any, Any]]]  # each entry answers its own operation's types


class Writer(Protocol):
    """Where `tell` goes. Appending does no I/O; `flush` may."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that it is to be flushed before anything else is told."""

    def append(self, path: Path, event: object) -> None:
        """Take an event told at `path`."""

    async def flush(self) -> None:
        """Bring what was told to safety. It never raises for a store that fails."""


class Lookup(Protocol):
    """Finds who answers an operation."""

    def __getitem__(self, operation: Callable[..., object], /) -> Answer: ...


@attrs.frozen(kw_only=True)
class Run:
    """What all branches of one run share."""

    answers: Lookup
    ports: frozenset[type[Port]]
    layered: bool
    writer: Writer | None
    around_scope: tuple[Callable[[Path], AbstractContextManager[object]], ...] = ()
    choose: tuple[Callable[[Path, int], int], ...] = ()
    replaying: tuple[Callable[[], bool], ...] = ()

    @property
    def is_replaying(self) -> bool:
        """Whether a layer repeats what happened before."""
        return any(replaying() for replaying in self.replaying)

    def chosen(self, path: Path, number: int) -> int:
        """Give the number that the layers let the interpreter choose."""
        for choose in self.choose:
            number = choose(path, number)
        return number


class Scope:
    """A place in the computation: its name below its parent, how many calls it made, which child names it used."""

    __slots__ = ("_children", "_name", "_parent", "_path", "calls")

    def __init__(self, parent: "Scope | None" = None, name: str = "") -> None:
        self._parent = parent
        self._name = name
        self._path: Path | None = None
        self._children: dict[str, int] = {}
        self.calls = 0

    @property
    def path(self) -> Path:
        """The names from the root to here; made when first asked for, so that deep nesting stays cheap."""
        if self._path is None:
            names, scope = [], self
            while scope._parent is not None:
                names.append(scope._name)
                scope = scope._parent
            self._path = tuple(reversed(names))
        return self._path

    def child(self, name: str) -> "Scope":
        """Open a scope below this one; a name used again gets a number."""
        times = self._children[name] = self._children.get(name, 0) + 1
        return Scope(self, name) if times == 1 else self.child(f"{name}~{times}")
