"""Why episodes failed, by kind: errors that say the same of another number or name are of one kind."""

import re
from collections.abc import Sequence

import attrs

from crucible.train.environments.interface import EnvironmentFailed
from crucible.train.environments.rollouts import GroupRollout

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


def failed_alike(groups: Sequence[GroupRollout[EnvironmentFailed]]) -> tuple[FailedAlike, ...]:
    """Count the failures of a round by their kind, the most frequent first."""
    kinds: dict[object, FailedAlike] = {}
    for place, group in enumerate(groups):
        for failure in group.failures:
            kind = _VARIES.sub("#", failure.error.message), type(failure.error.cause)
            known = kinds.get(kind) or FailedAlike(error=failure.error, count=0, group=place)
            kinds[kind] = attrs.evolve(known, count=known.count + 1)
    return tuple(sorted(kinds.values(), key=lambda alike: -alike.count))
