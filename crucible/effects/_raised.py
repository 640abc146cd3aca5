"""Exceptions that become typed failures: of one kind, or whatever the program itself raises."""

from collections.abc import Callable
from typing import TypeVar

from crucible.effects._driver import Failed, evaluate, is_of_handler
from crucible.effects._eff import Eff, Native
from crucible.effects._run import Run, Scope

A = TypeVar("A")
E = TypeVar("E")
F = TypeVar("F")
R = TypeVar("R")
X = TypeVar("X", bound=Exception)


def expecting(eff: Eff[A, E, R], kind: type[X]) -> Eff[A, E | X, R]:
    """Make a typed failure of an exception of class `kind` that leaves `eff`; its finalizers have run by then.

    What a layer raises to stop a run, `OverBudget` say, is so part of the result, where the caller expects it.

    >>> from crucible.effects import Handlers, pure
    >>> Handlers.none().run(expecting(pure(0).map(lambda n: 1 // n), ZeroDivisionError))
    <Failure: integer division or modulo by zero>
    """

    async def step(run: Run, scope: Scope) -> A:
        try:
            return await evaluate(run, scope, eff)
        except kind as error:
            raise Failed(error) from error

    return Native(step)


def excepting(eff: Eff[A, E, R], of: Callable[[Exception], F]) -> Eff[A, E | F, R]:
    """Make a typed failure of any exception that the program itself raises in `eff`: what `of` gives for it.

    It is for code that others wrote into a program, a score say. What a handler raised, or a layer to stop the run, goes on.

    >>> from crucible.effects import Handlers, pure
    >>> Handlers.none().run(excepting(pure({}).map(lambda row: row["answer"]), repr))
    <Failure: KeyError('answer')>
    """

    async def step(run: Run, scope: Scope) -> A:
        try:
            return await evaluate(run, scope, eff)
        except Exception as error:
            if is_of_handler(error):
                raise
            raise Failed(of(error)) from error

    return Native(step)
