"""What a call costs, in calls, tokens, seconds or money: `Budget` and `Rate` count it."""

from collections.abc import Callable

import attrs
from returns.result import Result

from crucible.effects._handlers import Call


@attrs.frozen(kw_only=True)
class Cost:
    """What calls cost, in one unit.

    Args:
        unit: the name of the unit, for messages.
        at_most: the most that a call can cost, told before it is made; None for one that is free, and never refused.
        spent: what it did cost, told by its result (None when it was cancelled or raised) and the seconds it took;
            `at_most` when absent.
    """

    unit: str
    at_most: Callable[[Call], float | None]
    spent: Callable[[Call, Result[object, object] | None, float], float] | None = None


each_call = Cost(unit="calls", at_most=lambda call: 1)
"""Every call costs 1."""


def working_seconds(at_most: Callable[[Call], float | None] = lambda call: 0.0) -> Cost:
    """Let a call cost the seconds it takes; calls at the same time add up.

    What `at_most` does not foretell is known afterwards only: the last call may run over by its own length.
    """
    return Cost(unit="seconds", at_most=at_most, spent=lambda call, result, seconds: seconds)
