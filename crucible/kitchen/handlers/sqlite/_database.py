"""One SQLite file with a version, used by one process at a time, one transaction an operation."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
import attrs

from crucible.effects import Failure, Result, Success
from crucible.kitchen.errors import KitchenError
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
        kind: what the file is, as a number in its header; a file of another kind is refused.
        migrations: the statements that lead from each version of the tables to the next, the first from none. One that was
            published is never changed.
    """

    path: Path
    kind: int
    migrations: Sequence[Sequence[str]]

    async def transact(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> Result[T, KitchenError]:
        """Do `work` within a transaction, in a thread; what goes wrong undoes it.

        Without `writes`, a file that is not there is not made: `work` sees empty tables.
        """
        return await anyio.to_thread.run_sync(lambda: self._transacted(work, writes=writes))

    def _transacted(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> Result[T, KitchenError]:
        try:
            if not writes and not self.path.exists():
                with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
                    self._migrate(connection)
                    return Success(work(connection))
            with self._connected() as connection:
                self._migrate(connection)
                connection.execute("BEGIN IMMEDIATE")
                done = work(connection)
                connection.execute("COMMIT")
                return Success(done)
        except StoppedError as stopped:
            return Failure(stopped.error)
        except sqlite3.Error as error:
            return Failure(self._failed(str(error), _fix_of(error)))
        except OSError as error:
            fix = "look at the folder, its rights and the space left"
            return Failure(self._failed(error.strerror or str(error), fix))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.with_name(f"{self.path.name}.lock")):
            connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
            with closing(connection):  # which undoes a transaction that was not committed
                connection.execute("PRAGMA synchronous=FULL")
                yield connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the tables to this version, each step in a transaction of its own."""
        version, kind = _pragma(connection, "user_version"), _pragma(connection, "application_id")
        [num_tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if kind != self.kind and (kind or num_tables):
            raise StoppedError(self._failed("it is a database of something else", "give the path of another file"))
        if version > len(self.migrations):
            fix = f"read it with a newer crucible; this one knows versions up to {len(self.migrations)}"
            raise StoppedError(self._failed(f"its tables are of version {version}", fix))
        if version == 0:
            connection.execute("PRAGMA journal_mode=WAL")
        for number, statements in enumerate(self.migrations[version:], start=version + 1):
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*statements, f"PRAGMA application_id={self.kind}", f"PRAGMA user_version={number}"):
                connection.execute(statement)
            connection.execute("COMMIT")

    def _failed(self, message: str, fix: str) -> StorageFailed:
        return StorageFailed(path=str(self.path), message=message, fix=fix)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [value] = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fix_of(error: sqlite3.Error) -> str:
    text = str(error)
    if "full" in text:
        return "free some space; nothing of this was stored"
    if "not a database" in text or "malformed" in text:
        return "move the file away, or bring it back from a copy: it is damaged, or no database"
    if "locked" in text:
        return "end the other program that holds it"
    return "look at the folder, its rights and the space left"
