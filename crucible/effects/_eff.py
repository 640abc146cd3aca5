"""`Eff`: a computation as a value.

An `Eff[A, E, R]` gives an `A`, can fail with an `E`, and needs handlers for the ports `R`. Nothing happens until
`Handlers.run` interprets it, and it can be run any number of times. `R` and `E` are unions that grow as computations are
composed, so a type checker knows what a whole workflow needs.
"""

from collections.abc import Awaitable, Callable, Generator
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Generic, Never, ParamSpec, TypeAlias, TypeVar

from returns.result import Failure, Result

if TYPE_CHECKING:
    from crucible.effects._run import Run, Scope

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")
P = ParamSpec("P")
A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


class Eff(Generic[A_co, E_co, R_co]):
    """A computation that gives an `A`, can fail with an `E` and needs the ports `R`.

    >>> from crucible.effects import Handlers
    >>> Handlers.none().run(pure(20).map(lambda n: n + 1).bind(lambda n: pure(n * 2)))
    <Success: 42>
    """

    __slots__ = ()

    def __iter__(self) -> "Generator[Eff[object, E_co, R_co], object, A_co]":
        """Let a do-block write `value = yield from eff`: the driver is handed the effect and sends back its value."""
        return (yield self)  # type: ignore[return-value]  # the driver answers each Eff with a value of its type

    def __await__(self) -> Generator[Never, Never, Never]:
        """Refuse `await`. Being awaitable makes a type checker report an effect that is made and then dropped."""
        raise TypeError(f"{self!r} cannot be awaited: write `yield from` in a do-block, or give it to `handlers.arun`")

    def map(self, f: Callable[[A_co], B]) -> "Eff[B, E_co, R_co]":
        """Apply `f` to the value."""
        return Map(self, f)

    def bind(self, f: "Callable[[A_co], Eff[B, E2, R2]]") -> "Eff[B, E_co | E2, R_co | R2]":
        """Go on with the computation that `f` makes of the value."""
        return Bind(self, f)

    def alt(self, f: Callable[[E_co], E2]) -> "Eff[A_co, E2, R_co]":
        """Apply `f` to the error. It stays located where it arose."""
        return Alt(self, f)

    def lash(self, f: "Callable[[E_co], Eff[B, E2, R2]]") -> "Eff[A_co | B, E2, R_co | R2]":
        """Recover: go on with the computation that `f` makes of the error."""
        return Lash(self, f)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


Do: TypeAlias = Generator[Eff[object, E, R], object, A]
"""What the body of a do-block returns: `Do[error, ports, value]`."""


class Pure(Eff[A_co, Never, Never]):
    __slots__ = ("value",)

    def __init__(self, value: A_co) -> None:
        self.value = value


class Fail(Eff[Never, E_co, Never]):
    __slots__ = ("error",)

    def __init__(self, error: E_co) -> None:
        self.error = error


class Perform(Eff[A_co, E_co, R_co]):
    """One operation of a port, not yet performed."""

    __slots__ = ("arguments", "keywords", "operation")

    def __init__(
        self,
        operation: Callable[..., Awaitable[Result[A_co, E_co]]],
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> None:
        self.operation = operation
        self.arguments = arguments
        self.keywords = keywords

    def __repr__(self) -> str:
        return f"<Perform {self.operation.__qualname__}>"


class Block(Eff[A_co, E_co, R_co]):
    """A do-block: a function that makes a fresh generator each time it is run."""

    __slots__ = ("arguments", "function", "keywords")

    def __init__(
        self,
        function: Callable[..., Do[E_co, R_co, A_co]],
        arguments: tuple[object, ...],
        keywords: dict[str, object],
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.keywords = keywords

    def __repr__(self) -> str:
        return f"<Block {self.function.__qualname__}>"


class Map(Eff[A_co, E_co, R_co]):
    __slots__ = ("apply", "source")

    def __init__(self, source: Eff[B, E_co, R_co], apply: Callable[[B], A_co]) -> None:
        self.source: Eff[object, object, object] = source
        self.apply: Callable[..., A_co] = apply


class Bind(Eff[A_co, E_co, R_co]):
    __slots__ = ("follow", "source")

    def __init__(self, source: Eff[B, E, R], follow: Callable[[B], Eff[A_co, E2, R2]]) -> None:
        self.source: Eff[object, object, object] = source
        self.follow: Callable[..., Eff[object, object, object]] = follow


class Lash(Eff[A_co, E_co, R_co]):
    __slots__ = ("recover", "source")

    def __init__(self, source: Eff[A, E, R], recover: Callable[[E], Eff[B, E_co, R2]]) -> None:
        self.source: Eff[object, object, object] = source
        self.recover: Callable[..., Eff[object, object, object]] = recover


class Alt(Eff[A_co, E_co, R_co]):
    __slots__ = ("apply", "source")

    def __init__(self, source: Eff[A_co, E, R_co], apply: Callable[[E], E_co]) -> None:
        self.source: Eff[object, object, object] = source
        self.apply: Callable[..., E_co] = apply


class Attempt(Eff[Result[A, E], Never, R_co]):
    __slots__ = ("source",)

    def __init__(self, source: Eff[A, E, R_co]) -> None:
        self.source = source


class Scoped(Eff[A_co, E_co, R_co]):
    __slots__ = ("name", "source")

    def __init__(self, name: str, source: Eff[A_co, E_co, R_co]) -> None:
        self.name = name
        self.source = source


class Native(Eff[A_co, E_co, R_co]):
    """A step that the interpreter carries out itself, given the run and the scope it stands in; it raises `Failed`."""

    __slots__ = ("step",)

    def __init__(self, step: "Callable[[Run, Scope], Awaitable[A_co]]") -> None:
        self.step = step


def pure(value: A) -> Eff[A, Never, Never]:
    """Make the computation that gives `value` and does nothing."""
    return Pure(value)


def fail(error: E) -> Eff[Never, E, Never]:
    """Make the computation that fails with `error`."""
    return Fail(error)


def from_result(result: Result[A, E]) -> Eff[A, E, Never]:
    """Make the computation that gives the value of `result`, or fails with its error."""
    return Fail(result.failure()) if isinstance(result, Failure) else Pure(result.unwrap())


def perform(
    operation: Callable[Concatenate[R, P], Awaitable[Result[A, E]]], /, *args: P.args, **kwargs: P.kwargs
) -> Eff[A, E, R]:
    """Make the effect of a port operation: `perform(SamplingClient.sample, session, prompt, params)`.

    The port, the value and the error are inferred from the operation; wrong arguments do not type-check.

    An operation that no port declares is a TypeError when it is run.
    """
    return Perform(operation, args, kwargs)


def do(function: Callable[P, Do[E, R, A]]) -> Callable[P, Eff[A, E, R]]:
    """Turn a generator function into a function that makes a computation.

    Inside, `value = yield from eff` waits for `eff`; a failure of `eff` leaves the block (its `finally` clauses run, and
    may perform effects), as an exception would.

    >>> from crucible.effects import Handlers
    >>> @do
    ... def double(source: Eff[int, str, Never]) -> Do[str, Never, int]:
    ...     number = yield from source
    ...     return number * 2
    >>> Handlers.none().run(double(pure(21))), Handlers.none().run(double(fail("lost")))
    (<Success: 42>, <Failure: lost>)
    """

    @wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Eff[A, E, R]:
        return Block(function, args, kwargs)

    return make


def attempt(eff: Eff[A, E, R]) -> Eff[Result[A, E], Never, R]:
    """Turn failure into a value: the result of `eff` as a `Result`."""
    return Attempt(eff)


def scoped(name: str, eff: Eff[A, E, R]) -> Eff[A, E, R]:
    """Run `eff` under a name of its own: its effects have paths that begin with it.

    A name used again in the same scope gets a number: `load`, `load~2`, ...
    """
    return Scoped(name, eff)
