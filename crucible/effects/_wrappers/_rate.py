"""`rate_limit`: so much in so many seconds, and no more."""

import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import anyio
import attrs
from returns.result import Result

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._wrappers._costs import Cost, each_call

R = TypeVar("R")


@attrs.frozen(eq=False)
class _Slot:
    """When a call may begin, and what it counts."""

    begin: float
    amount: float


class Rate:
    """At most `most` in any `per_seconds`, counted when calls begin. Handlers that are to share it are given the same one.

    >>> rate = Rate(2, per_seconds=60)
    >>> [rate.reserve(1, now).begin for now in (0.0, 10.0, 11.0, 11.0)]
    [0.0, 10.0, 60.0, 70.0]

    Raises: ValueError when a number is not above 0.
    """

    def __init__(
        self,
        most: float,
        *,
        per_seconds: float,
        cost: Cost = each_call,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (most > 0 and per_seconds > 0):
            raise ValueError(f"a rate is above 0 in more than 0 s, not {most} in {per_seconds} s")
        self.most = most
        self.per_seconds = per_seconds
        self.cost = cost
        self.clock = clock
        self._slots: deque[_Slot] = deque()

    def reserve(self, amount: float, now: float) -> _Slot:
        """Say when a call that counts `amount` may begin: not before those that came first.

        Raises: ValueError when `amount` alone is more than the rate allows.
        """
        if amount > self.most:
            raise ValueError(
                f"a call of {amount:g} {self.cost.unit} cannot be made at {self.most:g} in {self.per_seconds:g} s"
            )
        slots = self._slots
        begin = max(now, slots[-1].begin) if slots else now
        while slots and slots[0].begin + self.per_seconds <= now:
            slots.popleft()
        window = [slot for slot in slots if slot.begin + self.per_seconds > begin]
        used = sum(slot.amount for slot in window)
        for slot in window:
            if used + amount <= self.most:
                break
            begin, used = slot.begin + self.per_seconds, used - slot.amount
        made = _Slot(begin, amount)
        slots.append(made)
        return made

    def give_back(self, slot: _Slot) -> None:
        """Let go of a slot that was not used."""
        if slot in self._slots:
            self._slots.remove(slot)


def rate_limit(handlers: Handlers[R], rate: Rate) -> Handlers[R]:
    """Let calls wait, first come first served, so that no more than `rate` allows begin. Free calls do not wait.

    Raises, while running: ValueError for a call that alone is more than the rate allows.
    """

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        amount = rate.cost.at_most(call)
        if amount is None:
            return await proceed(call)
        slot = rate.reserve(amount, rate.clock())
        try:
            await anyio.sleep(max(slot.begin - rate.clock(), 0))
        except BaseException:
            rate.give_back(slot)
            raise
        return await proceed(call)

    return handlers.wrap(around)
