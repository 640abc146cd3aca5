"""Why episodes failed, by kind: errors of one kind begin alike, whatever number, name or answer they are of."""

import re
from collections.abc import Sequence

import attrs

from crucible.train.environments.interface import EnvironmentFailed
from crucible.train.environments.rollouts import GroupRollout

_FIRST_WORDS = 8
_LONGEST = 1000
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


@attrs.frozen(kw_only=True)
class FailedAlike:
    """Episodes that failed for the same reason.

    Args:
        error: of the first of them.
        count: how many.
        group: the place of the first one's group.
    """

    error: EnvironmentFailed
    count: int
    group: int

    @property
    def why(self) -> str:
        """What the first said, cut where it goes on for long: an error may quote a whole answer."""
        said = str(self.error)
        return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"


def failed_alike(groups: Sequence[GroupRollout[EnvironmentFailed]]) -> tuple[FailedAlike, ...]:
    """Count the failures of a round by their kind, the most frequent first."""
    kinds: dict[object, FailedAlike] = {}
    for place, group in enumerate(groups):
        for failure in group.failures:
            kind = _kind_of(failure.error)
            known = kinds.get(kind) or FailedAlike(error=failure.error, count=0, group=place)
            kinds[kind] = attrs.evolve(known, count=known.count + 1)
    return tuple(sorted(kinds.values(), key=lambda alike: -alike.count))


def _kind_of(error: EnvironmentFailed) -> object:
    if isinstance(error.cause, Exception):  # `raised` says in which line
        return type(error.cause), error.message
    return type(error.cause), _beginning(error.message), _beginning(str(error.cause))


def _beginning(text: str) -> tuple[str, ...]:
    return tuple(_VARIES.sub("#", text).split()[:_FIRST_WORDS])
