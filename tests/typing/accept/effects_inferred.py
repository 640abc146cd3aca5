"""What a type checker infers for computations, and that it is the whole truth: value, errors and ports."""

from typing import Never, assert_type

from crucible.effects import (
    Do,
    Eff,
    Result,
    TimedOut,
    attempt,
    both,
    bracket,
    do,
    fail,
    fold,
    from_result,
    gather,
    perform,
    pure,
    scoped,
    tell,
    timeout,
)
from tests.typing.ports import Clock, ClockError, Store, StoreError

now = perform(Clock.now)
read = perform(Store.read, "key")


def of_one_effect(result: Result[int, StoreError]) -> None:
    assert_type(now, Eff[float, ClockError, Clock])
    assert_type(read, Eff[str, StoreError, Store])
    assert_type(perform(Clock.sleep, 0.5), Eff[None, ClockError, Clock])
    assert_type(perform(Clock.sleep, seconds=0.5), Eff[None, ClockError, Clock])
    assert_type(perform(Store.write, "key", text="text", overwrite=True), Eff[int, StoreError, Store])
    assert_type(pure(1), Eff[int, Never, Never])
    assert_type(fail("lost"), Eff[Never, str, Never])
    assert_type(from_result(result), Eff[int, StoreError, Never])
    assert_type(tell("event"), Eff[None, Never, Never])


def of_a_mapped_value() -> None:
    assert_type(now.map(round), Eff[int, ClockError, Clock])
    assert_type(now.map(lambda seconds: f"{seconds:.1f}"), Eff[str, ClockError, Clock])


def of_a_computation_that_goes_on() -> None:
    assert_type(
        now.bind(lambda seconds: perform(Store.read, str(seconds))), Eff[str, ClockError | StoreError, Clock | Store]
    )
    assert_type(now.bind(lambda seconds: pure(seconds > 0)), Eff[bool, ClockError, Clock])


def of_a_changed_error() -> None:
    assert_type(now.alt(lambda error: f"{error}!"), Eff[float, str, Clock])
    assert_type(now.alt(str), Eff[float, str, Clock])


def of_a_recovery() -> None:
    assert_type(now.lash(lambda _: pure(0.0)), Eff[float, Never, Clock])
    assert_type(now.lash(lambda _: read), Eff[float | str, StoreError, Clock | Store])


def of_a_failure_turned_into_a_value() -> None:
    assert_type(attempt(now), Eff[Result[float, ClockError], Never, Clock])
    assert_type(
        attempt(now).map(lambda result: fold(result, lambda seconds: seconds > 0, lambda _: None)),
        Eff[bool | None, Never, Clock],
    )


def of_concurrent_computations() -> None:
    assert_type(gather([now, now], limit=2), Eff[list[float], ClockError, Clock])
    assert_type(gather(perform(Store.read, key) for key in "abc"), Eff[list[str], StoreError, Store])
    assert_type(both(now, read), Eff[tuple[float, str], ClockError | StoreError, Clock | Store])


def of_a_time_limit() -> None:
    assert_type(timeout(now, seconds=1), Eff[float, ClockError | TimedOut, Clock])


def of_a_named_place() -> None:
    assert_type(scoped("morning", now), Eff[float, ClockError, Clock])


def of_a_bracket() -> None:
    whole = bracket(
        acquire=now,
        use=lambda seconds: perform(Store.write, "now", str(seconds)),
        release=lambda _: attempt(perform(Store.read, "now")),
    )
    assert_type(whole, Eff[int, ClockError | StoreError, Clock | Store])


@do
def keep_the_time(key: str) -> Do[ClockError | StoreError, Clock | Store, int]:
    seconds = yield from now
    assert_type(seconds, float)
    old, length = yield from both(read, perform(Store.write, key, str(seconds)))
    assert_type(old, str)
    assert_type(length, int)
    outcome = yield from attempt(perform(Store.read, key))
    assert_type(outcome, Result[str, StoreError])
    yield from tell("kept")
    return length


@do
def needs_less_than_it_says() -> Do[ClockError | StoreError, Clock | Store, float]:
    return (yield from now)


@do
def always_fails() -> Do[StoreError, Never, int]:
    return (yield from fail(StoreError()))


def of_a_do_block() -> None:
    assert_type(keep_the_time("key"), Eff[int, ClockError | StoreError, Clock | Store])
    assert_type(keep_the_time(key="key").map(str), Eff[str, ClockError | StoreError, Clock | Store])
    assert_type(needs_less_than_it_says(), Eff[float, ClockError | StoreError, Clock | Store])
    assert_type(always_fails(), Eff[int, StoreError, Never])


def is_covariant(eff: Eff[bool, ClockError, Clock]) -> Eff[int, ClockError | StoreError, Clock | Store]:
    """Accept a computation where one that may give, fail and need more is asked for."""
    return eff
