"""What a program raises can be made a typed failure; what a handler raises, or a layer to stop the run, cannot by accident."""

from typing import Any

import pytest

from crucible.effects import (
    Call,
    Do,
    Eff,
    Failure,
    Handlers,
    Success,
    attempt,
    do,
    excepting,
    fail,
    gather,
    scoped,
)
from tests.effects.fakes import CrashError, Work, add, crash, working

pytestmark = pytest.mark.anyio


def divided(by: int) -> Eff[float, str, Work]:
    return add(1, 2).map(lambda number: number / by)


@do
def in_a_block(by: int) -> Do[str, Work, float]:
    number = yield from add(1, 2)
    return number / by


def named(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("program", [divided, in_a_block, lambda by: gather([divided(by)]).map(lambda each: each[0])])
async def test_what_the_program_raises_is_a_failure(program: Any) -> None:
    assert await working().arun(excepting(scoped("here", program(0)), named)) == Failure("ZeroDivisionError")
    assert await working().arun(excepting(program(3), named)) == Success(1.0)


@pytest.mark.parametrize("wrapped", [lambda eff: eff, lambda eff: scoped("a", eff), lambda eff: gather([eff])])
async def test_what_a_handler_raises_goes_on(wrapped: Any) -> None:
    with pytest.raises(CrashError):
        await working().arun(excepting(wrapped(crash("no")), named))


async def test_what_a_layer_raises_goes_on_and_so_does_a_port_that_nothing_handles() -> None:
    async def stops(call: Call, proceed: Any) -> Any:
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        await working().wrap(stops).arun(excepting(add(1, 2), named))
    none: Any = Handlers.none()
    with pytest.raises(LookupError, match="no handler for Work"):
        await none.arun(excepting(add(1, 2), named))


async def test_a_failure_stays_what_it_is() -> None:
    assert await Handlers.none().arun(attempt(excepting(fail("no"), named))) == Success(Failure("no"))


async def test_a_program_that_wraps_what_a_handler_raised_answers_for_it_itself() -> None:
    @do
    def wrapping() -> Do[str, Work, int]:
        try:
            return (yield from crash("no"))
        except CrashError as error:
            raise ValueError("mine") from error

    assert await working().arun(excepting(wrapping(), str)) == Failure("mine")
