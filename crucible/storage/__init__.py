"""What everything that keeps files needs: whole files, SQLite files with a version, locks between processes."""

from crucible.storage.files import replacing, sync
from crucible.storage.locks import locked
from crucible.storage.sqlite import Schema, UnusableDatabaseError, fix_of

__all__ = ["Schema", "UnusableDatabaseError", "fix_of", "locked", "replacing", "sync"]
