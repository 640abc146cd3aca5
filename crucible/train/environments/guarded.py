"""Environments that others wrote: what their code raises costs an episode and says where, as any other failure does."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from crucible.effects import Do, Eff, do, excepting
from crucible.train.environments.interface import Environment, EnvironmentFailed, Observation, State, StepResult
from crucible.train.types import TokenId

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_OURS = str(Path(__file__).parents[2])


def guarded(environment: Environment[R]) -> Environment[R]:
    """Give the environment with its exceptions made `EnvironmentFailed`; `cause` is the exception, its traceback included.

    What a handler raises, or a layer to stop the run, goes on.
    """
    return _Guarded(environment=environment)


def calling(
    make: Callable[[], Eff[A, E, R]], of: Callable[[Exception], EnvironmentFailed]
) -> Eff[A, E | EnvironmentFailed, R]:
    """Do what `make` gives, and make a failure of what either of the two raises."""
    return excepting(_made(make), of)


def raised(error: Exception) -> EnvironmentFailed:
    """Say what was raised and in which line, of the code that is neither ours nor Python's where there is such.

    >>> try:
    ...     {}["answer"]
    ... except KeyError as error:
    ...     print(str(raised(error)).replace("<doctest crucible.train.environments.guarded.raised[0]>", "mine.py"))
    KeyError was raised in mine.py, line 2: 'answer'
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OURS) and "/lib/python" not in frame.filename]
    where = next(reversed(own or frames), None)
    place = "" if where is None else f" in {Path(where.filename).name}, line {where.lineno}"
    return EnvironmentFailed(message=f"{type(error).__name__} was raised{place}", cause=error)


@do
def _made(make: Callable[[], Eff[A, E, R]]) -> Do[E, R, A]:
    return (yield from make())


@attrs.frozen(kw_only=True)
class _Guarded(Generic[R_co]):
    """An environment whose exceptions are failures."""

    environment: Environment[R_co]

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        return calling(self.environment.start, raised).map(lambda state: _GuardedState(state=state))


@attrs.frozen(kw_only=True)
class _GuardedState(Generic[R_co]):
    """One of its states."""

    state: State[R_co]

    @property
    def observation(self) -> Observation:
        return self.state.observation

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        return calling(lambda: self.state.step(action), raised).map(_guarded_next)


def _guarded_next(result: StepResult[R]) -> StepResult[R]:
    return result if result.next is None else attrs.evolve(result, next=_GuardedState(state=result.next))
