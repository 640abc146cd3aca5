"""A port: a class of operations that somebody else will carry out."""

import inspect
from abc import ABC
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from crucible.effects._handlers import Handlers
    from crucible.effects._unanswered import Unanswered

PortT = TypeVar("PortT", bound="Port")
Operation = TypeVar("Operation", bound=Callable[..., object])


class Port(ABC):
    """Base of every port.

    A direct subclass declares abstract `async def` methods, each giving a `Result`; those are the port's operations, and an
    `async def` that is not abstract is refused. A handler is a subclass of the port that implements them.

    >>> from abc import abstractmethod
    >>> from returns.result import Result
    >>> class Clock(Port):
    ...     @abstractmethod
    ...     async def now(self) -> Result[float, str]:
    ...         "Seconds since the epoch."
    >>> Clock.operations()
    ('now',)

    `class Clock(Port, unanswered=Broken.because)` says which error of its own a port answers with where a layer has no
    answer: a call took too long, a circuit is open (see `Unanswered`).
    """

    error_when_unanswered: ClassVar[Callable[["Unanswered"], object] | None] = None

    def __init_subclass__(cls, *, unanswered: Callable[["Unanswered"], object] | None = None) -> None:
        super().__init_subclass__()
        if Port not in cls.__bases__:
            return
        cls.error_when_unanswered = None if unanswered is None else staticmethod(unanswered)
        for name, member in vars(cls).items():
            if getattr(member, "__isabstractmethod__", False):
                if not inspect.iscoroutinefunction(member):
                    raise TypeError(f"{cls.__qualname__}.{name} must be an `async def` method: ports are asynchronous")
                member.__port__ = cls
            elif inspect.iscoroutinefunction(member):
                raise TypeError(
                    f"{cls.__qualname__}.{name} has a body of its own, and an operation of a port is carried out by its "
                    f"handlers: write @abstractmethod above it, or move it into a handler"
                )

    @classmethod
    def operations(cls) -> tuple[str, ...]:
        """Name the operations of this port, in the order of their definition."""
        return tuple(name for base in cls.__mro__ for name, member in vars(base).items() if port_of(member) is base)

    @classmethod
    def handled_by(cls: type[PortT], implementation: PortT) -> "Handlers[PortT]":
        """Make the environment in which `implementation` carries out this port's operations.

        Raises: TypeError when `cls` is not itself a port, or `implementation` is not one of its handlers.
        """
        from crucible.effects._handlers import Handlers

        return Handlers.of(cls, implementation)


def port_of(operation: object) -> type[Port] | None:
    """Find the port that declares `operation`, None when it is no port operation."""
    port: type[Port] | None = getattr(operation, "__port__", None)
    return port


def not_repeatable(operation: Operation) -> Operation:
    """Mark a port operation whose repetition is not harmless (a training step, a paid call).

    Wrappers that repeat calls, such as `retry`, pass over it.
    """
    operation.__not_repeatable__ = True  # type: ignore[attr-defined]  # functions take attributes; Callable hides it
    return operation


def is_repeatable(operation: object) -> bool:
    """Tell whether a wrapper may perform `operation` again after a failure."""
    return not getattr(operation, "__not_repeatable__", False)
