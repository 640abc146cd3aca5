"""`Handlers`: the environment that says who carries out the operations of each port."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from typing import Any, Generic, Never, Protocol, TypeAlias, TypeVar

import anyio
import attrs
from returns.result import Result

from crucible.effects._cancelling import ours
from crucible.effects._driver import Located, drive
from crucible.effects._eff import Eff, Perform
from crucible.effects._hooks import Hooks
from crucible.effects._interrupt import run_until_interrupted
from crucible.effects._path import Path, show_path
from crucible.effects._port import Port, PortT, port_of
from crucible.effects._run import Answer, Run, Scope, Writer

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
    def by_name(self) -> dict[str, object]:
        """The arguments by the names of the operation's parameters, defaults included.

        Raises: TypeError when the operation takes no such arguments.
        """
        bound = _signature(self.operation).bind(None, *self.arguments, **self.keywords)
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()
        return dict(arguments)

    @property
    def port(self) -> type[Port]:
        """The port whose operation it is."""
        return _declaring_port(self.operation)

    @property
    def name(self) -> str:
        """The port and the operation, as in `TrainingClient.optim_step`."""
        return f"{self.port.__name__}.{self.operation.__name__}"

    def __str__(self) -> str:
        return f"{self.name} at {show_path(self.path)}"


_signature = cache(inspect.signature)

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
    hooks: tuple[Hooks, ...] = ()

    def proceed(self, call: Call) -> Awaitable[Result[object, object]]:
        if isinstance(self.implementation, Port):
            return getattr(self.implementation, call.operation.__name__)(*call.arguments, **call.keywords)  # type: ignore[no-any-return]  # getattr
        return self.implementation(call)

    @property
    def through_layers(self) -> Proceed:
        """The function that answers a call, all layers around it."""
        proceed: Proceed = self.proceed
        for layer in self.layers:
            proceed = partial(layer, proceed=proceed)
        return proceed

    def answer(self, operation: Callable[..., Any], *, layered: bool) -> Answer:
        """Give the function that answers `operation`; a layered run passes the scope and the effect to it."""
        if not layered and isinstance(self.implementation, Port):
            method: Answer = getattr(self.implementation, operation.__name__)
            return method
        proceed = self.through_layers

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
        answer = self[operation] = _bound(self._bindings, operation).answer(operation, layered=self._layered)
        return answer


def _bound(bindings: Mapping[type[Port], _Binding], operation: Callable[..., object]) -> _Binding:
    """Find who answers an operation."""
    port = _declaring_port(operation)
    binding = bindings.get(port) or bindings.get(Port)
    if binding is None:
        raise LookupError(
            f"no handler for {port.__name__}, needed by {operation.__qualname__}: "
            f"add `{port.__name__}.handled_by(...)` to the handlers with `|`"
        )
    return binding


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
    def of_every_port(answer: Proceed, *, hooks: Hooks = Hooks()) -> "Handlers[Port]":
        """Let one function answer every operation of every port, as replay does."""
        return Handlers({Port: _Binding(implementation=answer, hooks=(hooks,))})

    @property
    def ports(self) -> frozenset[type[Port]]:
        """The ports handled here (`Port` itself stands for all of them)."""
        return frozenset(self._bindings)

    def __or__(self, other: "Handlers[R2]") -> "Handlers[R_contra | R2]":
        if Port in other._bindings:
            return Handlers(other._bindings)
        return Handlers({**self._bindings, **other._bindings})

    def wrap(self, around: Around, *hooks: Hooks) -> "Handlers[R_contra]":
        """Put a layer around every call to these handlers. The last layer put on is the outermost.

        `hooks` let it see more of a run than its calls.
        """
        return Handlers(
            {
                port: attrs.evolve(binding, layers=(*binding.layers, around), hooks=(*binding.hooks, *hooks))
                for port, binding in self._bindings.items()
            }
        )

    def answer(self, call: Call) -> Awaitable[Result[object, object]]:
        """Answer one call, for a layer that asks other handlers than those it stands before.

        Raises: LookupError when the port is not handled here.
        """
        return _bound(self._bindings, call.operation).through_layers(call)

    @property
    def hooks(self) -> tuple[Hooks, ...]:
        """What the layers see of a run besides its calls, each once, the innermost first."""
        return tuple(dict.fromkeys(hooks for binding in self._bindings.values() for hooks in binding.hooks))

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
        hooks = self.hooks
        run = Run(
            answers=_Answers(self._bindings, layered=layered),
            ports=self.ports,
            layered=layered,
            writer=writer,
            around_scope=tuple(each.around_scope for each in hooks if each.around_scope is not None),
            choose=tuple(each.choose for each in hooks if each.choose is not None),
            replaying=tuple(each.replaying for each in hooks if each.replaying is not None),
        )
        for each in hooks:
            if each.at_start is not None:
                each.at_start()
        try:
            with ours():
                result = await _writing(run, eff)
        except BaseException as error:
            for each in hooks:
                if each.at_break is not None:
                    each.at_break(error)
            raise
        for each in hooks:
            if each.at_end is not None:
                each.at_end()
        return result.alt(lambda located: located.error)

    def __repr__(self) -> str:
        return f"<Handlers of {', '.join(sorted(port.__name__ for port in self._bindings)) or 'nothing'}>"


async def _writing(run: Run, eff: Eff[A, E, R2]) -> Result[A, Located[E]]:
    """Interpret `eff`; what was told is brought to safety, however it ends."""
    try:
        return await drive(run, Scope(), eff)
    finally:
        with anyio.CancelScope(shield=True):
            if run.writer is not None:
                await run.writer.flush()


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
