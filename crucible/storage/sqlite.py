"""SQLite files with a version: how their tables come about, which files are refused, what to do about an error."""

import sqlite3
from collections.abc import Sequence

import attrs


class UnusableDatabaseError(Exception):
    """A file that is no database of the kind, or of a version that is not known here."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


@attrs.frozen(kw_only=True)
class Schema:
    """The tables of a kind of file.

    Args:
        kind: what the file is, as a number in its header (`application_id`); a file of another kind is refused.
        migrations: the statements that lead from each version of the tables to the next, the first from none. One that was
            published is never changed.

    >>> schema = Schema(kind=7, migrations=[["CREATE TABLE t (x)"]])
    >>> connection = sqlite3.connect(":memory:", isolation_level=None)
    >>> schema.version_of(connection)
    0
    >>> schema.bring_up(connection)
    >>> schema.version_of(connection)
    1
    >>> connection.close()
    """

    kind: int
    migrations: Sequence[Sequence[str]]

    def version_of(self, connection: sqlite3.Connection) -> int:
        """Give the version of the tables, 0 where there are none.

        Raises: UnusableDatabaseError for a file of something else, or of a newer version; sqlite3.Error.
        """
        version, kind = _pragma(connection, "user_version"), _pragma(connection, "application_id")
        if kind != self.kind and (kind or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
            raise UnusableDatabaseError("it is a database of something else", "give the path of another file")
        newest = len(self.migrations)
        if version > newest:
            fix = f"read it with a newer crucible; this one knows versions up to {newest}"
            raise UnusableDatabaseError(f"its tables are of version {version}", fix)
        return version

    def bring_up(self, connection: sqlite3.Connection) -> None:
        """Bring the tables to the newest version, each step in a transaction of its own.

        Raises: UnusableDatabaseError, as `version_of` does; sqlite3.Error.
        """
        version = self.version_of(connection)
        if version == 0:
            connection.execute("PRAGMA journal_mode=WAL")
        for number, statements in enumerate(self.migrations[version:], start=version + 1):
            connection.execute("BEGIN IMMEDIATE")
            for statement in (*statements, f"PRAGMA application_id={self.kind}", f"PRAGMA user_version={number}"):
                connection.execute(statement)
            connection.execute("COMMIT")


def fix_of(error: sqlite3.Error) -> str:
    """Say what to do about an error.

    >>> fix_of(sqlite3.OperationalError("database or disk is full"))
    'free some space; nothing of this was stored'
    """
    text = str(error)
    if "full" in text:
        return "free some space; nothing of this was stored"
    if "not a database" in text or "malformed" in text:
        return "move the file away, or bring it back from a copy: it is damaged, or no database"
    if "locked" in text:
        return "end the other program that holds it"
    return "look at the folder, its rights and the space left"


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [value] = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
