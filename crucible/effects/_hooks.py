"""What a layer may see of a run besides its calls."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import attrs

from crucible.effects._path import Path


@attrs.frozen(kw_only=True, eq=False)
class Hooks:
    """What a layer may see of a run besides its calls.

    Args:
        at_start: called before each run.
        at_end: called after each run that gave a result.
        at_break: called after each run that an exception or a cancellation ended, with what was raised.
        around_scope: gives what is entered for as long as a named part of the computation runs, a stage say.
        choose: given what the interpreter is about to choose, a number that depends on what happened first, and gives
            the number to take (see `choice`).
        replaying: tells whether what happens now happened before, and is only repeated from a recording.
    """

    at_start: Callable[[], None] | None = None
    at_end: Callable[[], None] | None = None
    at_break: Callable[[BaseException], None] | None = None
    around_scope: Callable[[Path], AbstractContextManager[object]] | None = None
    choose: Callable[[Path, int], int] | None = None
    replaying: Callable[[], bool] | None = None
