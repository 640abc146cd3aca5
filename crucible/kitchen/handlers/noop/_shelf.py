"""Where noop training saves models, and where noop training and sampling find them."""

from collections.abc import Mapping

import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.handlers.noop._bigram import Policy
from crucible.train.errors import NotFound, TrainError


@attrs.frozen(kw_only=True)
class Saved:
    """A policy as it was when it was saved, after `step` optimizer steps of its session, and what was to be kept with it."""

    policy: Policy
    step: int
    metadata: Mapping[str, str] = attrs.field(factory=dict)


class Shelf:
    """Saved models by path, in memory. Nothing saved is ever overwritten: a name used again gets a path of its own.

    Give one shelf to several handlers and they see each other's models; keep it, and a later run finds them again.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Saved] = {}
        self._paths: set[str] = set()

    def put(self, folder: str, name: str, saved: Saved) -> str:
        """Keep `saved` and give its path."""
        path, copies = f"noop://{folder}/{name}", 1
        while path in self._paths:
            copies += 1
            path = f"noop://{folder}/{name}~{copies}"
        self._saved[path] = saved
        self._paths.add(path)
        return path

    def paths(self, kind: str) -> tuple[str, ...]:
        """Give the paths of what was saved as one kind, `checkpoint` or `weights`, and is still there."""
        return tuple(path for path in self._saved if f"/{kind}/" in path)

    def drop(self, path: str) -> None:
        """Forget what was saved at `path`; its path is not given to anything else."""
        self._saved.pop(path, None)

    def get(self, path: str, *, kind: str) -> Result[Saved, TrainError]:
        """Give what was saved at `path`; what was saved as another kind is not found."""
        found = self._saved.get(path)
        if found is None or f"/{kind}/" not in path:
            return Failure(NotFound(kind=kind, name=path, fix="give a path that noop training saved on this shelf"))
        return Success(found)
