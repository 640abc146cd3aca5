"""Who cancelled a call: the program itself, by a time limit or a failing sibling, or somebody outside of its run."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

_OURS: ContextVar[tuple[anyio.CancelScope, ...]] = ContextVar("crucible_cancel_scopes", default=())


@contextmanager
def ours(*scopes: anyio.CancelScope) -> Iterator[None]:
    """Note that the program itself may cancel what runs inside; with no scope, that a run begins here."""
    token = _OURS.set((*_OURS.get(), *scopes) if scopes else ())
    try:
        yield
    finally:
        _OURS.reset(token)


def cancelled_by_the_program() -> bool:
    """Tell whether the program itself has cancelled what runs here."""
    return any(scope.cancel_called for scope in _OURS.get())
