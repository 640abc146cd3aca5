"""A folder with one SQLite database for each run: opened when first used, written by one process at a time.

Writers take a file lock on the folder for the length of a transaction. SQLite's own locks keep a database whole, but versions before
3.51.3 can lose a commit when two connections reach a checkpoint together (sqlite.org, "WAL-reset bug"), and Python 3.11
brings 3.40.
"""

import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from crucible.effects import Failure, Result, Success, UnrecordableError
from crucible.storage import Schema, UnusableDatabaseError, fix_of, locked, sync
from crucible.telemetry.errors import InvalidRecord, StoreError, StoreFailed
from crucible.telemetry.stores._records import StoppedError

T = TypeVar("T")

SUFFIX = ".sqlite"
SCHEMA = Schema(
    kind=0,
    migrations=(
        (
            "CREATE TABLE run (metadata TEXT NOT NULL)",
            "CREATE TABLE events (sequence INTEGER PRIMARY KEY, name TEXT NOT NULL, time INTEGER NOT NULL, attributes TEXT NOT NULL)",
            "CREATE TABLE series (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
            """CREATE TABLE points (
                sequence INTEGER PRIMARY KEY, series INTEGER NOT NULL, step INTEGER, value NOT NULL, time INTEGER NOT NULL,
                metadata TEXT
            )""",
        ),
    ),
)

FIX_OF_PAYLOAD = "keep to text, 64-bit whole numbers, floats, booleans, None, lists and string-keyed dicts of these"

_BUSY_SECONDS = 30.0


class RunDatabases:
    """The databases of a store: `<folder>/<run id, percent-encoded>.sqlite`; `read_only`, nothing in the folder is changed."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._folder = folder
        self._read_only = read_only
        self._open: dict[Path, tuple[sqlite3.Connection, tuple[int, int]]] = {}
        weakref.finalize(self, _close_all, self._open, lock=not read_only)

    def guarded(self, use: Callable[[], T], run_id: str = "") -> Result[T, StoreError]:
        """Give what `use` gives; its errors as values."""
        path = self._path(run_id) if run_id else self._folder
        try:
            return Success(use())
        except StoppedError as stopped:
            return Failure(stopped.error)
        except (UnrecordableError, TypeError, ValueError, OverflowError) as error:
            return Failure(InvalidRecord(message=str(error), fix=FIX_OF_PAYLOAD))
        except sqlite3.Error as error:
            return Failure(StoreFailed(path=str(path), message=str(error), fix=fix_of(error)))
        except UnusableDatabaseError as error:
            return Failure(StoreFailed(path=str(path), message=error.message, fix=error.fix))
        except OSError as error:
            fix = "look at the folder, its rights and the space left"
            return Failure(StoreFailed(path=str(path), message=error.strerror or str(error), fix=fix))

    def run_ids(self) -> Iterator[str]:
        """Give the runs that have a database."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            yield unquote_to_bytes(path.name.removesuffix(SUFFIX)).decode("utf-8", "surrogatepass")

    def reading(self, run_id: str) -> sqlite3.Connection | None:
        """Give a connection to a run's database, None where there is no database.

        Raises: sqlite3.Error; UnusableDatabaseError for a file of a newer version.
        """
        path = self._path(run_id)
        connection = self._connection(path) if path.exists() else None
        return None if connection is None or SCHEMA.version_of(connection) == 0 else connection

    @contextmanager
    def writing(self, run_id: str) -> Iterator[sqlite3.Connection]:
        """Give a connection within a transaction, committed at the end and undone by an exception.

        Raises: OSError, sqlite3.Error; UnusableDatabaseError for a file of a newer version, or a store that only reads.
        """
        path = self._path(run_id)
        if self._read_only:
            raise UnusableDatabaseError("the store was opened to be read only", "open it without read_only=True")
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder):
            connection = self._connection(path)
            SCHEMA.bring_up(connection)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def sync(self, run_id: str) -> None:
        """Bring everything committed to the disk, into the database itself.

        Raises: OSError, sqlite3.Error.
        """
        connection = self.reading(run_id)
        if connection is not None:
            path = self._path(run_id)
            with locked(self._folder):
                connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
                for each in (path, self._folder):
                    sync(each)

    def _path(self, run_id: str) -> Path:
        return self._folder / (quote(run_id.encode("utf-8", "surrogatepass"), safe="") + SUFFIX)

    def _connection(self, path: Path) -> sqlite3.Connection:
        """Give the connection to a file; a new one when the file is another by now."""
        if path in self._open:
            connection, identity = self._open[path]
            if path.exists() and _identity(path) == identity:
                return connection
            del self._open[path]
            connection.close()
        uri = f"{path.absolute().as_uri()}?mode={'ro' if self._read_only else 'rwc'}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
            SCHEMA.version_of(connection)
        except BaseException:
            connection.close()
            raise
        self._open[path] = connection, _identity(path)
        return connection


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _close_all(connections: dict[Path, tuple[sqlite3.Connection, tuple[int, int]]], *, lock: bool) -> None:
    for path, (connection, _) in connections.items():
        if lock and path.parent.exists():
            with locked(path.parent):
                connection.close()  # the last to close brings the log into the database
        else:
            connection.close()
