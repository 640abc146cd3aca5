"""What the launcher could not do, as the port's errors."""

import json

from crucible.kitchen.handlers.subprocess._orders import EVERY_GUARANTEE
from crucible.kitchen.handlers.subprocess._syscalls import Guarantee
from crucible.train.errors import BackendFailed, TrainError, Unsupported

_GUARANTEES_OF: dict[str, frozenset[Guarantee]] = {
    "capabilities": frozenset({"files"}),
    "count": frozenset({"processes"}),
    "landlock": frozenset({"files"}),
    "seccomp": EVERY_GUARANTEE,
}


def error_of(problem: bytes, promised: frozenset[Guarantee]) -> TrainError:
    """Give the error for what the launcher reported."""
    found: dict[str, str] = json.loads(problem)
    guarantees = _GUARANTEES_OF.get(found["mechanism"], frozenset()) & promised
    if not guarantees:
        return BackendFailed(message=f"the program could not be started: {found['message']}")
    return refused(guarantees, found["message"])


def refused(guarantees: frozenset[Guarantee], why: str) -> TrainError:
    """Give the error that says which guarantees cannot be kept here, and why."""
    names = sorted(guarantees)
    fix = f"run on Linux 5.13 or newer, or give up what it guarantees: without={set(names)!r}"
    return Unsupported(feature=f"isolation of {', '.join(names)} ({why})", backend="this machine", fix=fix)
