"""What everything that keeps files needs: SQLite files with a version, and locks between processes."""

from crucible.storage.locks import locked
from crucible.storage.sqlite import Schema, UnusableDatabaseError, fix_of

__all__ = ["Schema", "UnusableDatabaseError", "fix_of", "locked"]
