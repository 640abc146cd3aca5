"""Environments that others wrote: what their code raises costs an episode and says where, as any other failure does."""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from crucible.effects import Do, Eff, do, excepting, fail, pure
from crucible.train.environments.interface import Environment, EnvironmentFailed, Observation, State, StepResult
from crucible.train.types import TokenId

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_OURS = str(Path(__file__).parents[2])


def guarded(environment: Environment[R], *, of: str) -> Environment[R]:
    """Give the environment with its exceptions made `EnvironmentFailed`; `cause` is the exception, its traceback included.

    So is what it gives in the place of a state, an observation or a `StepResult`.

    What a handler raises, or a layer to stop the run, goes on, with a note that says of what the environment is.
    """
    return _Guarded(environment=environment, of=of)


def calling(make: Callable[[], Eff[A, E, R]], *, of: str) -> Eff[A, E | EnvironmentFailed, R]:
    """Do what `make` gives, and make a failure of what either of the two raises."""
    return excepting(_made(make, of), raised)


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
    is_plain = isinstance(error, TypeError) and not own and str(error).endswith("is not iterable")
    hint = " (it was given where a computation belongs: wrap a plain value in pure(...))" if is_plain else ""
    return EnvironmentFailed(message=f"{type(error).__name__} was raised{place}{hint}", cause=error)


@do
def _made(make: Callable[[], Eff[A, E, R]], of: str) -> Do[E, R, A]:
    try:
        return (yield from make())
    except Exception as error:
        error.add_note(f"in the environment of {of}")
        raise


@attrs.frozen(kw_only=True)
class _Guarded(Generic[R_co]):
    """An environment whose exceptions are failures."""

    environment: Environment[R_co]
    of: str

    def start(self) -> Eff[State[R_co], EnvironmentFailed, R_co]:
        if not _has_method(self.environment, "start"):
            return fail(EnvironmentFailed(message=f"{self.environment!r} is no environment: it has no method start"))
        return _own(calling(self.environment.start, of=self.of)).bind(lambda state: _state_of(state, self.of))


@attrs.frozen(kw_only=True)
class _GuardedState(Generic[R_co]):
    """One of its states."""

    state: State[R_co]
    observation: Observation
    of: str

    def step(self, action: tuple[TokenId, ...], /) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        return _own(calling(lambda: self.state.step(action), of=self.of)).bind(self._with_next)

    def _with_next(self, result: StepResult[R_co]) -> Eff[StepResult[R_co], EnvironmentFailed, R_co]:
        if not _is_a(StepResult, result) or not _is_a(Mapping, result.metrics):
            return fail(
                EnvironmentFailed(message=f"a step gave {result!r}, and no StepResult with a mapping of metrics")
            )
        if result.next is None:
            return pure(result)
        return _state_of(result.next, self.of).map(lambda state: attrs.evolve(result, next=state))


def _state_of(state: State[R], of: str) -> Eff[_GuardedState[R], EnvironmentFailed, R]:
    """Guard a state, which is looked at once: what it shows may be computed, and by code that is wrong."""

    def seen() -> Eff[_GuardedState[R], EnvironmentFailed, R]:
        if not _has_method(state, "step"):
            return fail(EnvironmentFailed(message=f"{state!r} is no state of an environment: it has no method step"))
        shown = state.observation
        if not _is_a(Observation, shown):
            return fail(EnvironmentFailed(message=f"a state shows {shown!r}, and no Observation"))
        return pure(_GuardedState(state=state, observation=shown, of=of))

    return calling(seen, of=of)


def _own(eff: Eff[A, EnvironmentFailed, R]) -> Eff[A, EnvironmentFailed, R]:
    """Make the failure of an environment of any error with which its code ends, a mere text say."""
    return eff.alt(lambda error: error if _is_a(EnvironmentFailed, error) else EnvironmentFailed(message=str(error)))


def _is_a(kind: type, value: object) -> bool:
    """Tell whether a value is of the kind that its type promises: of code without types nothing is sure."""
    return isinstance(value, kind)


def _has_method(value: object, name: str) -> bool:
    return callable(getattr(value, name, None))
