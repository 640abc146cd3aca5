"""`spend`: a run that may cost so much and no more."""

import time
from typing import TypeVar

from returns.result import Result

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._wrappers._costs import Cost

R = TypeVar("R")


class OverBudget(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call that was not made, because it could have cost more than is left. `expecting` makes a typed failure of it."""

    def __init__(self, call: Call, budget: "Budget", asked: float) -> None:
        super().__init__(call, asked)
        self.call = call
        self.unit = budget.cost.unit
        self.limit = budget.limit
        self.left = budget.left
        self.asked = asked

    def __str__(self) -> str:
        unit = self.unit
        return (
            f"{self.call} could cost {self.asked:g} {unit}, and {max(self.left, 0):g} of {self.limit:g} {unit} are left: "
            "raise the limit of the budget, or ask for less"
        )


class Budget:
    """What may be spent, and what was. Handlers and runs that are to share it are given the same one.

    >>> from crucible.effects import each_call
    >>> Budget(3, each_call)
    <Budget: 0 of 3 calls spent>

    Raises: ValueError when `limit` is negative or no number.
    """

    def __init__(self, limit: float, cost: Cost) -> None:
        if not limit >= 0:
            raise ValueError(f"a budget is at least 0 {cost.unit}, not {limit}")
        self.limit = limit
        self.cost = cost
        self._spent = 0.0
        self._reserved = 0.0

    @property
    def spent(self) -> float:
        """What the calls that have ended did cost."""
        return self._spent

    @property
    def left(self) -> float:
        """What is neither spent nor set aside for calls that are being made."""
        return self.limit - self._spent - self._reserved

    def reserve(self, call: Call, amount: float) -> None:
        """Set `amount` aside.

        Raises: OverBudget when less is left.
        """
        if amount > self.left:
            raise OverBudget(call, self, amount)
        self._reserved += amount

    def settle(self, reserved: float, spent: float) -> None:
        """Put what was spent in the place of what was set aside for it."""
        self._reserved -= reserved
        self._spent += spent

    def __repr__(self) -> str:
        return f"<Budget: {self._spent:g} of {self.limit:g} {self.cost.unit} spent>"


def spend(handlers: Handlers[R], budget: Budget) -> Handlers[R]:
    """Count what calls cost against `budget`, and stop the run before one that could cost more than is left.

    Calls that are made at the same time set aside the most that they can cost, so that together they do not exceed it
    either.

    Raises, while running: OverBudget, through the do-blocks, whose finalizers run; no `attempt` takes it for a failure.
    """
    cost = budget.cost

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        most = cost.at_most(call)
        if most is None:
            return await proceed(call)
        budget.reserve(call, most)
        start = time.perf_counter()
        result: Result[object, object] | None = None
        try:
            result = await proceed(call)
            return result
        finally:
            seconds = time.perf_counter() - start
            budget.settle(most, most if cost.spent is None else cost.spent(call, result, seconds))

    return handlers.wrap(around)
