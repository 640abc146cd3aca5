"""What has to be remembered between runs, in a SQLite file: the models that were trained, what users said of their answers."""

from pathlib import Path

from crucible.effects import Handlers
from crucible.kitchen.handlers.sqlite._feedback import SqliteFeedback, record_exchanges
from crucible.kitchen.handlers.sqlite._registry import SqliteRegistry
from crucible.kitchen.ports import FeedbackClient, ModelRegistry

__all__ = ["SqliteFeedback", "SqliteRegistry", "feedback", "record_exchanges", "registry"]


def feedback(path: Path | str, export_folder: Path | str) -> Handlers[FeedbackClient]:
    """Handle the feedback that `record_exchanges` keeps in the SQLite file `path`.

    Exports are files below `export_folder`, whole or not there at all, which replace none; the path of an export is that of its
    file, so `hf.datasets` reads it. What was acknowledged is on the disk (fsync). Several processes may use one file, on a
    local disk. All exchanges before the first `update_baseline` are new.
    """
    return FeedbackClient.handled_by(SqliteFeedback(Path(path), Path(export_folder)))


def registry(path: Path | str) -> Handlers[ModelRegistry]:
    """Handle registration in the SQLite file `path`, which is made with the first entry. An id is `name@version`.

    An entry that was acknowledged is on the disk (fsync). Several processes may use one file, on a local disk. Whole numbers and
    text come back as they were, and so do NaN and the infinities.
    """
    return ModelRegistry.handled_by(SqliteRegistry(Path(path)))
