"""`Handlers`: the environment that says who carries out the operations of each port."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar

import anyio
import attrs
from returns.result import Result

from crucible.effects._driver import Answer, Run, Scope, Writer, drive
from crucible.effects._eff import Eff, Perform
from crucible.effects._interrupt import run_until_interrupted
from crucible.effects._path import Path, show_path
from crucible.effects._port import Port, PortT, port_of

A = TypeVar("A")
E = TypeVar("E")
R2 = TypeVar("R2")
R_contra = TypeVar("R_contra", contravariant=True)


@attrs.frozen(kw_only=True)
class Call:
    """One operation about to be performed, as a wrapper sees it.

    `path` is the structural place of the call: the scopes it stands in, then `#n` for the n-th call of that scope.
    """

    path: Path
    operation: Callable[..., Awaitable[Result[object, object]]]
    arguments: tuple[object, ...]
    keywords: Mapping[str, object]

    @property
    def name(self) -> str:
        """The port and the operation, as in `TrainingClient.optim_step`."""
        return f"{_declaring_port(self.operation).__name__}.{self.operation.__name__}"

    def __str__(self) -> str:
        return f"{self.name} at {show_path(self.path)}"


Proceed: TypeAlias = Callable[[Call], Awaitable[Result[object, object]]]


class Around(Protocol):
    """A layer around every call: look at it, change it, answer it, or let it `proceed`."""

    async def __call__(self, call: Call, proceed: Proceed) -> Result[object, object]:
        """Answer `call`, usually by awaiting `proceed(call)`."""


@attrs.frozen(kw_only=True)
class _Binding:
    """Who answers a port, behind which layers (outermost last)."""

    implementation: Port | Proceed
    layers: tuple[Around, ...] = ()
    at_start: Callable[[], None] | None = None
    at_end: Callable[[], None] | None = None

    def proceed(self, call: Call) -> Awaitable[Result[object, object]]:
        if isinstance(self.implementation, Port):
            return getattr(self.implementation, call.operation.__name__)(*call.arguments, **call.keywords)  # type: ignore[no-any-return]  # getattr
        return self.implementation(call)

    def answer(self, operation: Callable[..., Any], *, layered: bool) -> Answer:
        """Give the function that answers `operation`; a layered run passes the scope and the effect to it."""
        if not layered and isinstance(self.implementation, Port):
            method: Answer = getattr(self.implementation, operation.__name__)
            return method
        proceed: Proceed = self.proceed
        for layer in self.layers:
            proceed = partial(layer, proceed=proceed)

        def answer(scope: Scope, effect: Perform[object, object, object]) -> Awaitable[Result[object, object]]:
            path = (*scope.path, f"#{scope.calls}")
            return proceed(Call(path=path, operation=operation, arguments=effect.arguments, keywords=effect.keywords))

        return answer


class _Answers(dict[Callable[..., Any], Answer]):
    """Answers by operation, looked up once for each operation of a run."""

    def __init__(self, bindings: Mapping[type[Port], _Binding], *, layered: bool) -> None:
        super().__init__()
        self._bindings = bindings
        self._layered = layered

    def __missing__(self, operation: Callable[..., Any]) -> Answer:
        port = _declaring_port(operation)
        binding = self._bindings.get(port) or self._bindings.get(Port)
        if binding is None:
            raise LookupError(
                f"no handler for {port.__name__}, needed by {operation.__qualname__}: "
                f"add `{port.__name__}.handled_by(...)` to the handlers with `|`"
            )
        answer = self[operation] = binding.answer(operation, layered=self._layered)
        return answer


class _Nothing:
    """No effect needs it.

    As the second choice in the type of `run`, it keeps mypy from reading the ports of a bare
    `perform(...)` off the handlers instead of off its operation; both checkers still name the port that is missing.
    """


class Handlers(Generic[R_contra]):
    """An environment that handles the ports `R`.

    `a | b` handles what either handles; where both handle a port, `b` does. `run` accepts only a computation all of
    whose ports are handled: a missing one is a type error that names it.

    >>> from abc import abstractmethod
    >>> from returns.result import Success
    >>> from crucible.effects import perform
    >>> class Clock(Port):
    ...     @abstractmethod
    ...     async def now(self) -> Result[float, str]: ...
    >>> class Noon(Clock):
    ...     async def now(self) -> Result[float, str]:
    ...         return Success(12.0)
    >>> Clock.handled_by(Noon()).run(perform(Clock.now))
    <Success: 12.0>
    """

    __slots__ = ("_bindings",)

    def __init__(self, bindings: Mapping[type[Port], _Binding]) -> None:
        self._bindings = dict(bindings)

    @staticmethod
    def none() -> "Handlers[Never]":
        """Give the environment that handles nothing: the identity of `|`."""
        return Handlers({})

    @staticmethod
    def of(port: type[PortT], implementation: PortT) -> "Handlers[PortT]":
        """Let `implementation` handle `port`; `Port.handled_by` reads better."""
        if Port not in port.__bases__:
            raise TypeError(f"{port!r} is not a port: only a direct subclass of Port is")
        if not isinstance(implementation, port):
            raise TypeError(f"{implementation!r} does not implement {port.__name__}: subclass the port")
        return Handlers({port: _Binding(implementation=implementation)})

    @staticmethod
    def of_every_port(
        answer: Proceed, *, at_start: Callable[[], None] | None = None, at_end: Callable[[], None] | None = None
    ) -> "Handlers[Port]":
        """Let one function answer every operation of every port, as replay does.

        `at_start` is called before each run, `at_end` after each that gave a result.
        """
        return Handlers({Port: _Binding(implementation=answer, at_start=at_start, at_end=at_end)})

    @property
    def ports(self) -> frozenset[type[Port]]:
        """The ports handled here (`Port` itself stands for all of them)."""
        return frozenset(self._bindings)

    def __or__(self, other: "Handlers[R2]") -> "Handlers[R_contra | R2]":
        if Port in other._bindings:
            return Handlers(other._bindings)
        return Handlers({**self._bindings, **other._bindings})

    def wrap(self, around: Around) -> "Handlers[R_contra]":
        """Put a layer around every call to these handlers. The last layer put on is the outermost."""
        return Handlers(
            {port: attrs.evolve(binding, layers=(*binding.layers, around)) for port, binding in self._bindings.items()}
        )

    def run(self, eff: Eff[A, E, R_contra] | Eff[A, E, _Nothing], *, writer: Writer | None = None) -> Result[A, E]:
        """Interpret `eff` from synchronous code and wait for its result.

        The first ctrl-C cancels it: finalizers run, and `uncancellable` holds. A second one stops it at once.

        Raises: what a handler raised (a defect), with the path as a note; RuntimeError inside a running event loop.
        """
        if _in_event_loop():
            raise RuntimeError("Handlers.run was called inside a running event loop: use `await handlers.arun(...)`")
        return run_until_interrupted(partial(self.arun, eff, writer=writer))

    async def arun(
        self, eff: Eff[A, E, R_contra] | Eff[A, E, _Nothing], *, writer: Writer | None = None
    ) -> Result[A, E]:
        """Interpret `eff` from asynchronous code (asyncio or trio)."""
        layered = any(b.layers or not isinstance(b.implementation, Port) for b in self._bindings.values())
        run = Run(
            answers=_Answers(self._bindings, layered=layered),
            layered=layered,
            writer=writer,
        )
        for binding in self._bindings.values():
            if binding.at_start is not None:
                binding.at_start()
        try:
            result = await drive(run, Scope(), eff)
        finally:
            with anyio.CancelScope(shield=True):
                if writer is not None:
                    await writer.flush()
        for binding in self._bindings.values():
            if binding.at_end is not None:
                binding.at_end()
        return result.alt(lambda located: located.error)

    def __repr__(self) -> str:
        return f"<Handlers of {', '.join(sorted(port.__name__ for port in self._bindings)) or 'nothing'}>"


def _declaring_port(operation: Callable[..., object]) -> type[Port]:
    port = port_of(operation)
    if port is None:
        raise TypeError(f"{operation!r} is not an operation of a port")
    return port


def _in_event_loop() -> bool:
    try:
        anyio.get_current_task()
    except RuntimeError:  # NoEventLoopError in newer versions of anyio
        return False
    return True
