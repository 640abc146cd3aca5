"""One SQLite file with a version, used by one process at a time, one transaction an operation."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.storage import Schema, UnusableDatabaseError, fix_of, locked
from crucible.train.errors import StorageFailed

T = TypeVar("T")

_BUSY_SECONDS = 30.0


class StoppedError(Exception):
    """An expected failure on its way out of a transaction, which it undoes."""

    def __init__(self, error: KitchenError) -> None:
        super().__init__(str(error))
        self.error = error


@attrs.frozen(kw_only=True)
class Database:
    """A file, and how its tables are made.

    The file is opened for each operation, under a lock beside it: versions of SQLite before 3.51.3 can lose a commit when two
    connections reach a checkpoint together (sqlite.org, "WAL-reset bug"), and closing is a checkpoint.

    Args:
        path: of the file.
        schema: its tables.
    """

    path: Path
    schema: Schema

    async def transact(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> Result[T, KitchenError]:
        """Do `work` within a transaction, in a thread; what goes wrong undoes it.

        Without `writes`, a file that is not there is not made: `work` sees empty tables.
        """
        return await anyio.to_thread.run_sync(lambda: self._transacted(work, writes=writes))

    def _transacted(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> Result[T, KitchenError]:
        try:
            if not writes and not self.path.exists():
                with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                    self.schema.bring_up(connection)
                    return Success(work(connection))
            with self._connected() as connection:
                self.schema.bring_up(connection)
                connection.execute("BEGIN IMMEDIATE")
                done = work(connection)
                connection.execute("COMMIT")
                return Success(done)
        except StoppedError as stopped:
            return Failure(stopped.error)
        except (sqlite3.Error, UnusableDatabaseError, OSError, ValueError, TypeError, LookupError) as error:
            return Failure(StorageFailed(path=str(self.path), message=_message_of(error), fix=_fix_of(error)))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            with closing(connection):  # which undoes a transaction that was not committed
                connection.execute("PRAGMA synchronous=FULL")
                yield connection


def _message_of(error: Exception) -> str:
    match error:
        case UnusableDatabaseError():
            return error.message
        case OSError():
            return error.strerror or str(error)
        case sqlite3.Error():
            return str(error)
        case _:
            return f"it holds something else than was written ({error})"


def _fix_of(error: Exception) -> str:
    match error:
        case UnusableDatabaseError():
            return error.fix
        case OSError():
            return "look at the folder, its rights and the space left"
        case sqlite3.Error():
            return fix_of(error)
        case _:
            return "move the file away, or bring it back from a copy: it is damaged"
