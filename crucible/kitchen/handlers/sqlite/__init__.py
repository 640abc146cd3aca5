"""What has to be remembered between runs, in a SQLite file: the models that were trained."""

from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers.sqlite._registry import SqliteRegistry
from crucible.kitchen.ports import ModelRegistry

__all__ = ["SqliteRegistry", "registry"]


def registry(path: Path | str) -> Handlers[ModelRegistry]:
    """Handle registration in the SQLite file `path`, which is made with the first entry. An id is `name@version`.

    An entry that was acknowledged is on the disk (fsync). Several processes may use one file, on a local disk. Whole numbers and
    text come back as they were, and so do NaN and the infinities.
    """
    return ModelRegistry.handled_by(SqliteRegistry(Path(path)))
