"""Handlers that must not type-check, and computations run without theirs."""

from crucible.effects import (
    Budget,
    Call,
    Handlers,
    OverBudget,
    Path,
    Port,
    Proceed,
    Result,
    Success,
    both,
    each_call,
    expecting,
    lockstep,
    perform,
    rate_limit,
    spend,
)
from tests.typing.ports import Blank, Clock, ClockError, Noon, Store, StoreError

clock = Clock.handled_by(Noon())
store = Store.handled_by(Blank())
now = perform(Clock.now)
read = perform(Store.read, "key")

# A missing handler: the message names the port

both_of_them = both(now, read)
none_at_all: Result[float, ClockError] = Handlers.none().run(now)  # E: arg-type "Argument 1 to "run" of "Handlers" has incompatible type "Eff[float, ClockError, Clock]"; expected "Eff[float, ClockError, Never]"
another: Result[float, ClockError] = store.run(now)  # E: arg-type "has incompatible type "Eff[float, ClockError, Clock]"; expected "Eff[float, ClockError, Store]"
written_in_place: Result[float, ClockError] = store.run(perform(Clock.now))  # E: arg-type "Clock"
one_of_two: Result[tuple[float, str], ClockError | StoreError] = clock.run(both_of_them)  # E: arg-type "ClockError | StoreError, Clock | Store]"; expected "Eff[tuple[float, str], ClockError | StoreError, Clock]"


async def one_of_two_awaited() -> Result[str, StoreError]:
    return await clock.arun(read)  # E: arg-type "Store]"; expected "Eff[str, StoreError, Clock]"


handles_less: Handlers[Clock | Store] = clock  # E: assignment
handles_every_port: Handlers[Port] = clock | store  # E: operator


def keeps_the_ports(handlers: Handlers[Clock]) -> Handlers[Clock | Store]:
    return handlers  # E: return-value


# A result that is not what was asked for

the_wrong_value: Result[str, ClockError] = clock.run(now)  # E: arg-type
the_wrong_error: Result[float, StoreError] = clock.run(now)  # E: arg-type

# A handler with an answer, or arguments, of another type


class WrongValue(Clock):
    async def now(self) -> Result[str, ClockError]:  # E: override "Return type"
        return Success("noon")

    async def sleep(self, seconds: float) -> Result[None, ClockError]:
        return Success(None)


class WrongError(Clock):
    async def now(self) -> Result[float, str]:  # E: override "Return type"
        return Success(12.0)

    async def sleep(self, seconds: float) -> Result[None, ClockError]:
        return Success(None)


class NoResult(Clock):
    async def now(self) -> float:  # E: override "Return type"
        return 12.0

    async def sleep(self, seconds: float) -> Result[None, ClockError]:
        return Success(None)


class Synchronous(Clock):
    def now(self) -> Result[float, ClockError]:  # E: override "Return type"
        return Success(12.0)

    async def sleep(self, seconds: float) -> Result[None, ClockError]:
        return Success(None)


class WrongArguments(Clock):
    async def now(self) -> Result[float, ClockError]:
        return Success(12.0)

    async def sleep(self, seconds: str) -> Result[None, ClockError]:  # E: override "Argument 1"
        return Success(None)


class Unfinished(Clock):
    async def now(self) -> Result[float, ClockError]:
        return Success("noon")  # E: arg-type "expected "float""


unfinished = Unfinished()  # E: abstract "sleep"
not_a_handler_of_it = Clock.handled_by(Blank())  # E: arg-type "has incompatible type "Blank"; expected "Clock""
not_a_handler_at_all = Clock.handled_by(object())  # E: arg-type "expected "Clock""

# A layer of another form


async def takes_no_call(proceed: Proceed) -> Result[object, object]:
    return Success(None)


async def answers_without_a_result(call: Call, proceed: Proceed) -> object:
    return call.path


def is_synchronous(call: Call, proceed: Proceed) -> Result[object, object]:
    return Success(call)


layered = clock.wrap(takes_no_call)  # E: arg-type "expected "Around""
layered = clock.wrap(answers_without_a_result)  # E: arg-type "expected "Around""
layered = clock.wrap(is_synchronous)  # E: arg-type "expected "Around""


# A stop that is not expected in the result, and backends of which one cannot follow

poor = spend(clock, Budget(1, each_call))
unexpected: Result[float, ClockError] = poor.run(expecting(now, OverBudget))  # E: arg-type
only_one_follows: Result[float, ClockError] = lockstep(clock, store).run(now)  # E: arg-type "Never"
counted_in_no_unit = rate_limit(clock, Budget(1, each_call))  # E: arg-type "expected "Rate""


# A writer of another form


class Deaf:
    def append(self, path: Path) -> None:
        pass


unheard = clock.run(now, writer=Deaf())  # E: arg-type "expected "Writer | None""
