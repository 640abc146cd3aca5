"""Environments: what they handle is inferred, and one that handles more may stand where less is asked for."""

from typing import Never, TypeVar, assert_type

from crucible.effects import (
    Budget,
    Call,
    Do,
    Eff,
    Fault,
    Handlers,
    Journal,
    OverBudget,
    Port,
    Proceed,
    Rate,
    Result,
    both,
    cache,
    crashing,
    deadline,
    delayed,
    do,
    each_call,
    expecting,
    inject,
    lockstep,
    perform,
    pure,
    rate_limit,
    redact,
    resume,
    spend,
)
from tests.typing.ports import Blank, Clock, ClockError, Noon, Store, StoreError

R = TypeVar("R")

clock = Clock.handled_by(Noon())
store = Store.handled_by(Blank())
now = perform(Clock.now)
now_and_read = both(now, perform(Store.read, "key"))


async def passed_on(call: Call, proceed: Proceed) -> Result[object, object]:
    """A layer that changes nothing."""
    return await proceed(call)


def retry_like(handlers: Handlers[R]) -> Handlers[R]:
    """A wrapper knows no port, and keeps all of them."""
    return handlers.wrap(passed_on)


def of_environments() -> None:
    assert_type(clock, Handlers[Clock])
    assert_type(Handlers.none(), Handlers[Never])
    assert_type(clock | store, Handlers[Clock | Store])
    assert_type(clock | store | clock, Handlers[Clock | Store])
    assert_type(retry_like(clock | store), Handlers[Clock | Store])


def of_wrappers() -> None:
    """Whatever stands on top, the ports stay the same; a stop that is expected is part of the error."""
    wrapped = spend(deadline(rate_limit(clock | store, Rate(9, per_seconds=1)), seconds=3), Budget(9, each_call))
    assert_type(wrapped, Handlers[Clock | Store])
    assert_type(resume(redact(wrapped, {}), Journal()), Handlers[Clock | Store])
    assert_type(cache(clock, operations=[Clock.now, Clock.sleep], store={}), Handlers[Clock])
    assert_type(
        inject(clock, Fault(crashing(), on=Clock.now, at=3), Fault(delayed(1), on=Clock.sleep)), Handlers[Clock]
    )
    assert_type(expecting(now, OverBudget), Eff[float, ClockError | OverBudget, Clock])
    assert_type(wrapped.run(expecting(now, OverBudget)), Result[float, ClockError | OverBudget])


def of_two_backends(one: Handlers[Clock | Store], other: Handlers[Clock]) -> None:
    """Lockstep handles what both handle."""
    assert_type(lockstep(one, one), Handlers[Clock | Store])
    of_both: Handlers[Clock] = lockstep(one, other)
    assert_type(of_both.run(now), Result[float, ClockError])


def of_results() -> None:
    assert_type(Handlers.none().run(pure(1)), Result[int, Never])
    assert_type(clock.run(now), Result[float, ClockError])
    assert_type((clock | store).run(now_and_read), Result[tuple[float, str], ClockError | StoreError])
    assert_type((clock | store).run(perform(Clock.now)), Result[float, ClockError])
    assert_type((clock | store).run(perform(Store.read, "key").map(len)), Result[int, StoreError])
    assert_type(retry_like(clock | store).run(now_and_read), Result[tuple[float, str], ClockError | StoreError])


async def of_awaited_results() -> None:
    assert_type(await clock.arun(now), Result[float, ClockError])


def handles_more_than_is_asked_for() -> Result[float, ClockError]:
    return (store | clock).run(now)


def may_stand_where_less_is_asked_for(both_of_them: Handlers[Clock | Store]) -> Handlers[Clock]:
    return both_of_them


def replaying(every_port: Handlers[Port]) -> Handlers[Clock | Store]:
    """What answers every port is accepted everywhere."""
    assert_type(every_port.run(now), Result[float, ClockError])
    assert_type(every_port.run(now_and_read), Result[tuple[float, str], ClockError | StoreError])
    assert_type(retry_like(every_port), Handlers[Port])
    return every_port


@do
def once_for_each(eff: Eff[float, ClockError, R], times: int) -> Do[ClockError, R, float]:
    """A do-block may be generic in its ports."""
    total = 0.0
    for _ in range(times):
        total += yield from eff
    return total


def of_a_generic_block() -> None:
    assert_type(once_for_each(now, 2), Eff[float, ClockError, Clock])
    assert_type(clock.run(once_for_each(now, times=2)), Result[float, ClockError])
