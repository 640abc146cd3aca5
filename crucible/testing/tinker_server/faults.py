"""What can go wrong at a server, as a script: which requests meet it, and what they meet."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import attrs


@attrs.frozen
class Refuse:
    """Answer with an HTTP status and do no work: 401, 402, 408, 429, 500, 503, ..."""

    status: int = attrs.field(validator=[attrs.validators.ge(400), attrs.validators.lt(600)])
    retry_after_seconds: float | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Drop:
    """Close the connection without an answer: `before` the work was begun, or `after` it was taken in."""

    when: Literal["before", "after"] = "before"


@attrs.frozen
class Delay:
    """Answer late. The work is done in time, the client only hears of it later."""

    seconds: float = attrs.field(validator=attrs.validators.ge(0))


@attrs.frozen
class Expire:
    """End the client's session: this request and all that follow in that session are answered with 410."""


@attrs.frozen
class Hold:
    """Keep the request's future from being ready until a request comes in at another route; None is for ever.

    `Hold("optim_step")` on `forward_backward` lets only those programs go on that submit both before they wait.
    """

    until: str | None = None


@attrs.frozen
class Fail:
    """Take the request in, do no work, and let its future fail."""

    message: str = "injected failure"
    category: Literal["user", "server", "unknown"] = "server"


Misfortune: TypeAlias = Refuse | Drop | Delay | Expire | Hold | Fail


def _places(nth: Iterable[int]) -> tuple[int, ...]:
    return tuple(nth)


@attrs.frozen
class Fault:
    """Which requests of a route meet a misfortune: the `nth` ones (the first is 1), or all; and of those a share.

    >>> Fault("optim_step", Refuse(503), nth=(1, 2))
    Fault(route='optim_step', misfortune=Refuse(status=503, retry_after_seconds=None), nth=(1, 2), share=1.0)

    Args:
        route: the name a request has in the server's record, such as `forward_backward`, `asample` or `retrieve_future`;
            `*` for every route, counted together.
        misfortune: what happens.
        nth: which requests of the route, counted from 1; empty for all.
        share: how many of those, drawn with the server's seed.
    """

    route: str
    misfortune: Misfortune
    nth: tuple[int, ...] = attrs.field(default=(), converter=_places, kw_only=True)
    share: float = attrs.field(default=1.0, validator=[attrs.validators.ge(0), attrs.validators.le(1)], kw_only=True)


class Faults:
    """A script of faults as it is played: it counts requests, and draws from its seed."""

    def __init__(self, script: Sequence[Fault], *, seed: int) -> None:
        self._script = tuple(script)
        self._draws = [random.Random(f"fault/{seed}/{place}") for place in range(len(self._script))]
        self._counts: Counter[str] = Counter()

    def next(self, route: str) -> Misfortune | None:
        """Count a request of `route`; give what it meets. The first fault of the script that fits is taken.

        >>> faults = Faults([Fault("asample", Drop(), nth=(2,))], seed=0)
        >>> [faults.next("asample") for _ in range(3)]
        [None, Drop(when='before'), None]
        """
        self._counts[route] += 1
        self._counts["*"] += 1
        met = [
            fault.misfortune
            for fault, draws in zip(self._script, self._draws, strict=True)
            if fault.route in (route, "*")
            and (not fault.nth or self._counts[fault.route] in fault.nth)
            and (fault.share >= 1 or draws.random() < fault.share)
        ]
        return met[0] if met else None
