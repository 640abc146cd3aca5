"""Computations that must not type-check."""

from typing import Never

from crucible.effects import Do, Eff, Handlers, Result, Success, attempt, both, bracket, do, fail, gather, perform, pure, scoped
from tests.typing.ports import Clock, ClockError, Store, StoreError

now = perform(Clock.now)
read = perform(Store.read, "key")

# A forgotten `yield from`


@do
def forgets_it_before_an_effect() -> Do[ClockError, Clock, float]:
    perform(Clock.sleep, 1.0)  # E: unused-awaitable "must be used"
    return (yield from now)


@do
def forgets_it_before_a_block() -> Do[ClockError, Clock, float]:
    forgets_it_before_an_effect()  # E: unused-awaitable "must be used"
    return (yield from now)


@do
def forgets_it_before_a_composition() -> Do[ClockError, Clock, float]:
    gather([now, now])  # E: unused-awaitable "must be used"
    now.map(str)  # E: unused-awaitable "must be used"
    attempt(now)  # E: unused-awaitable "must be used"
    scoped("morning", now)  # E: unused-awaitable "must be used"
    return (yield from now)


@do
def uses_the_effect_as_if_it_were_its_value() -> Do[ClockError, Clock, float]:
    seconds = perform(Clock.now)
    yield from perform(Clock.sleep, seconds)  # E: arg-type "expected "float""
    return seconds  # E: return-value "expected "float""


@do
def yields_without_from() -> Do[ClockError, Clock, float]:
    seconds = yield now
    return seconds  # E: return-value "got "object", expected "float""


# Wrong arguments of an operation

of_another_type = perform(Clock.sleep, "1")  # E: arg-type "Argument 2 to "perform" has incompatible type "str"; expected "float""
too_few = perform(Clock.sleep)  # E: call-arg "Missing positional argument "seconds""
too_many = perform(Clock.now, 1)  # E: call-arg "Too many arguments"
of_another_name = perform(Clock.sleep, hours=1)  # E: call-arg "Unexpected keyword argument "hours""
by_position = perform(Store.write, "key", "text", True)  # E: call-arg "Too many positional arguments"
keyword_of_another_type = perform(Store.write, "key", "text", overwrite="yes")  # E: arg-type "expected "bool""


class Plain:
    def now(self) -> Result[float, ClockError]:
        return Success(12.0)


of_a_synchronous_method: Eff[float, ClockError, Plain] = perform(Plain.now)  # E: arg-type "Awaitable[Result["


# A do-block that needs, or fails with, more than it says


@do
def needs_an_undeclared_port() -> Do[ClockError | StoreError, Clock, str]:
    yield from now
    return (yield from read)  # E: misc "actual type "Eff[object, StoreError, Store]""


@do
def fails_with_an_undeclared_error() -> Do[ClockError, Clock | Store, str]:
    yield from now
    return (yield from read)  # E: misc "expected type "Eff[object, ClockError, Clock | Store]""


@do
def fails_with_an_undeclared_error_of_its_own() -> Do[ClockError, Clock, float]:
    yield from fail("lost")  # E: misc "actual type "Eff[object, str, Never]""
    return (yield from now)


@do
def gives_another_value() -> Do[ClockError, Clock, str]:
    return (yield from now)  # E: return-value "got "float", expected "str""


@do  # E: arg-type "Generator["
def is_no_generator() -> float:
    return 1.0


# Composition with a function of another type


def length(text: str) -> int:
    return len(text)


def reread(text: str) -> Eff[str, StoreError, Store]:
    return perform(Store.read, text)


def explain(error: StoreError) -> str:
    return str(error)


mapped = now.map(length)  # E: arg-type "expected "Callable[[float], int]""
mapped_to_an_effect: Eff[str, ClockError | StoreError, Clock | Store] = read.map(reread)  # E: arg-type "expected "Callable[[str], str]""
bound = now.bind(reread)  # E: arg-type "expected "Callable[[float], "
bound_to_a_plain_value: Eff[int, StoreError, Store] = read.bind(length)  # E: arg-type "expected "Callable[[str], Eff["
altered = now.alt(explain)  # E: arg-type "expected "Callable[[ClockError], "
recovered = now.lash(lambda error: pure(error.no_such_thing))  # E: attr-defined

# A computation where one that gives, fails or needs less is asked for

fails_after_all: Eff[float, Never, Clock] = now  # E: assignment
needs_after_all: Eff[float, ClockError, Never] = now  # E: assignment
gives_less: Eff[int, ClockError, Clock] = now  # E: assignment
one_of_two: Eff[tuple[float, str], ClockError, Clock | Store] = both(now, read)  # E: arg-type "Eff[str, StoreError, Store]"
gathered: Eff[list[str], ClockError, Clock] = gather([now])  # E: list-item

# A release that can fail

kept_open = bracket(acquire=now, use=lambda _: read, release=lambda _: perform(Clock.sleep, 1))  # E: arg-type "Result[object, Never]"


# A generator where a computation is asked for


def undecorated() -> Do[ClockError, Clock, float]:
    return (yield from now)


def runs_a_generator(handlers: Handlers[Clock]) -> Result[float, ClockError]:
    return handlers.run(undecorated())  # E: arg-type "expected "Eff["


mapped_generator: object = undecorated().map(str)  # E: attr-defined "has no attribute "map""
