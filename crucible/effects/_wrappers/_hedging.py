"""`hedge`: a call that is slow to answer is made a second time, and the first good answer counts."""

import time
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import accumulate, cycle, islice
from typing import TypeVar

import anyio
import attrs
from returns.result import Result, Success

from crucible.effects._cancelling import ours
from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._port import is_repeatable, port_of
from crucible.effects._siblings import Siblings

R = TypeVar("R")

_MOST_SAVED = 10
"""So many hedges are saved up by calls that needed none: when all of a service gets slow, it is not asked twice as often."""
_ROUNDING = 1e-9


class _Durations:
    """The last durations of one operation, in the order in which they came and by length."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        if len(self._latest) == self._window:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]
        self._latest.append(seconds)
        insort(self._sorted, seconds)

    def __len__(self) -> int:
        return len(self._sorted)

    def percentile(self, percentile: float) -> float:
        """Give the shortest duration that so many percent do not exceed (nearest rank)."""
        rank = -int(-len(self._sorted) * percentile // 100)
        return self._sorted[max(rank, 1) - 1]


class SlowerThan:
    """A delay that follows what calls take: that percentile of the last durations, for each operation by itself.

    Until `warm_up` calls of an operation were answered there is no delay, and so no hedge. A call that a hedge overtook
    counts with the time after which it was given up. Handlers that are to share it are given the same one.

    >>> from abc import abstractmethod
    >>> from crucible.effects import Call, Port
    >>> class Clock(Port):
    ...     @abstractmethod
    ...     async def now(self) -> Result[float, str]: ...
    >>> call = Call(path=(), operation=Clock.now, arguments=(), keywords={})
    >>> slow = SlowerThan(percentile=90, warm_up=10)
    >>> for tenths in range(1, 10):
    ...     slow.add(call, tenths / 10)
    >>> slow(call) is None
    True
    >>> slow.add(call, 7.0)
    >>> slow(call)
    0.9

    Raises: ValueError unless 0 < percentile < 100 and 1 <= warm_up <= window.
    """

    def __init__(self, percentile: float = 95, *, warm_up: int = 20, window: int = 1000) -> None:
        if not 0 < percentile < 100:
            raise ValueError(f"a percentile to hedge after is above 0 and below 100, not {percentile}")
        if not 1 <= warm_up <= window:
            raise ValueError(f"a warm-up has at least 1 call and at most the {window} of the window, not {warm_up}")
        self.percentile = percentile
        self.warm_up = warm_up
        self._durations: defaultdict[Callable[..., object], _Durations] = defaultdict(partial(_Durations, window))

    def add(self, call: Call, seconds: float) -> None:
        """Note how long a call took."""
        self._durations[call.operation].add(seconds)

    def __call__(self, call: Call) -> float | None:
        """Give the delay of a call in seconds; None while too little is known."""
        durations = self._durations[call.operation]
        return durations.percentile(self.percentile) if len(durations) >= self.warm_up else None


@attrs.define
class _Allowance:
    """How many hedges the calls so far have earned and not used."""

    share: float
    saved: float = 0.0

    def earn(self) -> None:
        self.saved = min(self.saved + self.share, max(self.share, _MOST_SAVED))

    def take(self) -> bool:
        if self.saved + _ROUNDING < 1:
            return False
        self.saved -= 1
        return True


@attrs.frozen(kw_only=True)
class Hedging:
    """When a call is made again although it may still be answered, and how often.

    >>> Hedging(after_seconds=1, growth=2, max_hedges=3).begins(1)
    (0.0, 1.0, 3.0, 7.0)

    Args:
        after_seconds: how long to wait for an answer before the call is made again; `SlowerThan(percentile=95)` follows what
            calls take. A function may say None: that call is made once.
        growth: each further wait is so many times the one before.
        most_share: the most calls that may be added, as a share of those of the program; `math.inf` for no limit. What calls
            earned is saved up, for ten hedges at most, so that a service that gets slow as a whole is not asked twice as often.
        max_hedges: the most times that one call is made again.
    """

    after_seconds: float | Callable[[Call], float | None] = attrs.field()
    growth: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    most_share: float = attrs.field(default=0.05, validator=attrs.validators.ge(0))
    max_hedges: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    @after_seconds.validator
    def _is_not_negative(self, _: object, value: object) -> None:
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"a call is hedged after 0 seconds or more, not {value}")

    def wait_seconds(self, call: Call) -> float | None:
        """Give how long this call may take before it is made again; None when it is made once."""
        return self.after_seconds(call) if callable(self.after_seconds) else self.after_seconds

    def begins(self, wait_seconds: float) -> tuple[float, ...]:
        """Give when a call is made, in seconds from the first time, which is 0."""
        waits = (wait_seconds * self.growth**index for index in range(self.max_hedges))
        return tuple(accumulate(waits, initial=0.0))


def hedge(
    handlers: Handlers[R],
    policy: Hedging,
    *,
    operations: Collection[Callable[..., object]],
    others: Sequence[Handlers[R]] = (),
) -> Handlers[R]:
    """Make a call of `operations` again while the first one is still waiting, and take the first good answer.

    The others are cancelled, and have ended when the answer is given. A failure waits for those that are still being made:
    when all of them fail, the failure of the first counts. An exception stops all of them at once.

    Put `record` outside of it: what is recorded is the one answer that the program got. Inside of it, `rate_limit` and `spend`
    count every call that is made; a call that was overtaken may have cost its price.

    Args:
        handlers: those that answer slowly at times.
        policy: when, how often, and how many.
        operations: those whose calls may be made twice at the same time.
        others: whom to ask the second time, the third and so on, in turn; the same handlers when there are none.

    Raises: TypeError for what is no operation; ValueError for one that is not repeatable.
    """
    _require(operations)
    allowance = _Allowance(policy.most_share)
    slower = policy.after_seconds if isinstance(policy.after_seconds, SlowerThan) else None

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.operation not in operations:
            return await proceed(call)
        allowance.earn()
        wait_seconds = policy.wait_seconds(call)
        start = time.perf_counter()
        if wait_seconds is None:
            result = await proceed(call)
        else:
            asked = [proceed, *islice(cycle([other.answer for other in others] or [proceed]), policy.max_hedges)]
            result = await _Race(call, allowance).run(asked, policy.begins(wait_seconds))
        if slower is not None and isinstance(result, Success):
            slower.add(call, time.perf_counter() - start)
        return result

    return handlers.wrap(around)


def _require(operations: Collection[Callable[..., object]]) -> None:
    for operation in operations:
        if port_of(operation) is None:
            raise TypeError(f"{operation!r} is not an operation of a port")
        if not is_repeatable(operation):
            raise ValueError(f"{operation.__qualname__} is not repeatable: it must not be made twice at the same time")


class _Race:
    """One call, made several times; ends with the first good answer, or when none is to be had."""

    def __init__(self, call: Call, allowance: _Allowance) -> None:
        self._call = call
        self._allowance = allowance
        self._running = 0
        self._results: dict[int, Result[object, object]] = {}
        self._over = anyio.CancelScope()

    async def run(self, asked: Sequence[Proceed], begins: Sequence[float]) -> Result[object, object]:
        """Make the call, each time so much later, until one of them is answered."""
        siblings = Siblings()
        each = enumerate(zip(asked, begins, strict=True))
        tasks = [partial(self._make, index, proceed, begin) for index, (proceed, begin) in each]
        with self._over, ours(self._over):
            await siblings.run([partial(siblings.guarded, index, task) for index, task in enumerate(tasks)])
        good = (index for index, result in self._results.items() if isinstance(result, Success))
        return self._results[next(good, min(self._results))]

    async def _make(self, index: int, proceed: Proceed, wait_seconds: float) -> None:
        if index > 0:
            await anyio.sleep(wait_seconds)
            if self._over.cancel_called or not self._allowance.take():
                return
        self._running += 1
        result = await proceed(self._call)
        self._running -= 1
        self._results[index] = result
        if isinstance(result, Success) or self._running == 0:
            self._over.cancel()
