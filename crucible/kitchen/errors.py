"""`KitchenError`: what can go wrong, as expected, behind a port that the kitchen owns."""

from typing import TypeAlias

import attrs

from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    StorageFailed,
    Unavailable,
    Unsupported,
)


@attrs.frozen(kw_only=True)
class AlreadyExists:
    """Something of that name is there and differs: a name means one thing for ever."""

    kind: str
    name: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} exists already" + (f": {self.fix}" if self.fix else "")


KitchenError: TypeAlias = (
    InvalidRequest
    | NotFound
    | AlreadyExists
    | MissingExtra
    | StorageFailed
    | AccessDenied
    | Unavailable
    | Unsupported
    | BackendFailed
)
"""The closed union of the errors of the kitchen's ports; those of `TrainError` mean the same here."""
