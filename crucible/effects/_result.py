"""Reading a `returns` Result with its types kept.

Under mypy, `case Success(value)` binds `value` to `Any` and is not exhaustive; `fold` keeps both types.
"""

from collections.abc import Callable
from typing import TypeVar

from returns.result import Failure, Result, Success

A = TypeVar("A")
E = TypeVar("E")
B = TypeVar("B")
C = TypeVar("C")


def fold(result: Result[A, E], ok: Callable[[A], B], err: Callable[[E], C]) -> B | C:
    """Give `ok(value)` of a success or `err(error)` of a failure.

    >>> fold(Success(2), lambda n: n + 1, lambda error: 0)
    3
    >>> fold(Failure("lost"), lambda n: 0, lambda error: f"{error}!")
    'lost!'
    """
    if isinstance(result, Failure):
        return err(result.failure())
    return ok(result.unwrap())


__all__ = ["Failure", "Result", "Success", "fold"]
