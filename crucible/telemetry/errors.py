"""`StoreError`: everything that can go wrong, as expected, behind a telemetry port.

Handlers turn what their SDK or the file system raises into one of these. Each error says what to do about it.
"""

from typing import TypeAlias

import attrs

from crucible.effects import Unanswered


@attrs.frozen(kw_only=True)
class UnknownRun:
    """The store has nothing under that run id."""

    run_id: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(f"run {self.run_id!r} is not in this store", self.fix)


@attrs.frozen(kw_only=True)
class InvalidRecord:
    """A record, or the name it was to be kept under, is nothing that a store can keep."""

    message: str
    fix: str = ""
    index: int | None = None

    def __str__(self) -> str:
        where = "" if self.index is None else f" (record {self.index})"
        return _sentences(f"{self.message}{where}", self.fix)


@attrs.frozen(kw_only=True)
class StoreFailed:
    """Reading or writing failed: a full disk, a missing right. What was stored before is whole, nothing was half stored."""

    path: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(f"{self.path}: {self.message}", self.fix)


@attrs.frozen(kw_only=True)
class CorruptRecord:
    """A whole record that cannot be read. Nothing is guessed: the records before it are fine, those after it unread."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.message}: repair or remove that line, or rebuild from the journal"


@attrs.frozen(kw_only=True)
class StoreUnavailable:
    """The store could not be reached or made: a service that is down, a package that is not installed."""

    message: str
    fix: str = ""

    def __str__(self) -> str:
        return _sentences(self.message, self.fix)

    @classmethod
    def because(cls, why: Unanswered) -> "StoreUnavailable":
        """Say it of a call to which a layer (`deadline`, `circuit_breaker`) has no answer."""
        return cls(message=str(why))


StoreError: TypeAlias = UnknownRun | InvalidRecord | StoreFailed | CorruptRecord | StoreUnavailable
"""The closed union of the errors of all telemetry ports."""


def _sentences(message: str, fix: str) -> str:
    return f"{message}: {fix}" if fix else message
