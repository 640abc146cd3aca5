"""How a contract suite is run: laws are computations, and a broken one says what was expected and what came."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Never, TypeAlias, TypeVar

from crucible.effects import Eff, Failure, Handlers, Result, attempt

R = TypeVar("R")
A = TypeVar("A")

Laws: TypeAlias = Mapping[str, Eff[object, object, R]]
"""What a handler promises, each promise by the sentence that says it."""


class ContractViolationError(AssertionError):
    """A handler does not keep a promise of its port."""


def obey(make: Callable[[], Handlers[R]], laws: Laws[R]) -> None:
    """Run each law on fresh handlers.

    Raises: ContractViolationError for the first law that is broken.
    """
    for sentence, law in laws.items():
        try:
            result = make().run(law)
        except ContractViolationError as violation:
            raise ContractViolationError(f"{sentence}: {violation}") from None
        except Exception as defect:
            defect.add_note(f"while checking that {sentence}")
            raise
        if isinstance(result, Failure):
            raise ContractViolationError(f"{sentence}: {_shown(result.failure())}")


def require(condition: bool, message: str) -> None:  # noqa: FBT001  # it reads as a sentence, like assert
    """Raise: ContractViolationError with `message` when `condition` does not hold."""
    if not condition:
        raise ContractViolationError(message)


def require_equal(found: object, expected: object, what: str) -> None:
    """Raise: ContractViolationError when `found` is not `expected`."""
    require(found == expected, f"{what} is {found!r}, expected {expected!r}")


def require_close(found: float, expected: float, what: str, *, tolerance: float) -> None:
    """Raise: ContractViolationError when two numbers differ by more than `tolerance`, relative or absolute."""
    close = math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    require(close, f"{what} is {found!r}, expected {expected!r} within {tolerance:g}")


def require_falling(values: Sequence[float], what: str) -> None:
    """Raise: ContractViolationError unless the last value is below the first."""
    require(values[-1] < values[0], f"{what} did not go down: {', '.join(f'{value:.4f}' for value in values)}")


def refused(what: str, eff: Eff[object, object, R], *kinds: type) -> Eff[object, Never, R]:
    """Perform `eff`, which must fail with an error of one of `kinds` (any, when none is given); give the error."""

    def judged(result: Result[object, object]) -> object:
        if not isinstance(result, Failure):
            raise ContractViolationError(f"{what} was accepted and gave {result.unwrap()!r}")
        error = result.failure()
        wanted = " or ".join(kind.__name__ for kind in kinds)
        require(not kinds or isinstance(error, kinds), f"{what} failed with {_shown(error)}, expected {wanted}")
        require(bool(str(error).strip()), f"{what} failed with {error!r}, whose text is empty")
        return error

    return attempt(eff).map(judged)


def _shown(error: object) -> str:
    return f"{type(error).__name__}({error})"
