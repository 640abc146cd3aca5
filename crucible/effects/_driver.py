"""The interpreter: it walks a computation and keeps the stack itself, so depth costs memory and never recursion.

A frame of the stack is either the generator of a do-block or the node that waits for the value (`Map`, `Bind`, `Lash`,
`Alt`, `Attempt`, or the `Scope` to go back to). A failure travels through the generators as an exception of a private type, so
that `finally` clauses run, and may perform effects.
"""

from collections.abc import Generator
from contextlib import ExitStack
from types import GeneratorType
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
from anyio import CancelScope, get_cancelled_exc_class
from returns.result import Failure, Result, Success

from crucible.effects._eff import Alt, Attempt, Bind, Block, Eff, Fail, Lash, Map, Native, Perform, Pure, Scoped
from crucible.effects._path import Path, show_path
from crucible.effects._run import Run, Scope

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


class Failed(BaseException):  # not an Exception: `except Exception` in a do-block must not swallow a typed failure
    """Carries a typed failure through the generators of do-blocks."""

    def __init__(self, error: object) -> None:
        self.error = error
        self.path: Path | None = None

    def __str__(self) -> str:
        return str(self.error)


@attrs.frozen(kw_only=True)
class Located(Generic[E]):
    """An error and the scope in which it arose."""

    path: Path
    error: E

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.error}"


Node: TypeAlias = Eff[Any, Any, Any]  # the driver moves values of every type
Frame: TypeAlias = (
    Generator[Node, Any, Any]
    | Map[Any, Any, Any]
    | Bind[Any, Any, Any]
    | Lash[Any, Any, Any]
    | Alt[Any, Any, Any]
    | Attempt[Any, Any, Any]
    | Scope
)


async def drive(run: Run, scope: Scope, eff: Eff[A, E, R]) -> Result[A, Located[E]]:
    """Interpret `eff` to its result. Whatever a handler raises goes through the do-blocks and then to the caller."""
    try:
        return Success(await evaluate(run, scope, eff))
    except Failed as failed:
        error: Any = failed.error  # only errors of `eff` are thrown
        return Failure(Located(path=scope.path if failed.path is None else failed.path, error=error))


async def evaluate(run: Run, scope: Scope, eff: Eff[A, E, R]) -> A:
    """Interpret `eff` to its value; a typed failure is raised as `Failed`, for the interpreter's own steps."""
    value: A = await _advance(run, scope, [], eff)
    return value


async def _advance(run: Run, scope: Scope, stack: list[Frame], node: Any) -> Any:
    """Walk from `node` to the final value; raises what no frame of the stack caught."""
    answers, layered = run.answers, run.layered
    value: Any
    frame: Any
    while True:
        try:
            while True:  # down: evaluate `node` until there is a value
                kind = type(node)
                if kind is Perform:
                    scope.calls += 1
                    if layered:
                        result = await answers[node.operation](scope, node)
                    else:
                        result = await answers[node.operation](*node.arguments, **node.keywords)
                    if type(result) is not Success:
                        raise _thrown(result, node)
                    value = result._inner_value  # unwrap() without its call: this line runs for every effect
                    break
                if kind is Block:
                    stack.append(_started(node))
                    value = None
                    break
                if kind is Pure:
                    value = node.value
                    break
                if kind is Scoped:
                    stack.append(scope)
                    scope = scope.child(node.name)
                    node = Block(_watched, (run, scope, node.source), {}) if run.around_scope else node.source
                elif kind in _WAITING:
                    stack.append(node)
                    node = node.source
                elif kind is Native:
                    value = await node.step(run, scope)
                    break
                elif kind is Fail:
                    raise Failed(node.error)
                else:
                    raise TypeError(f"`yield from` was given {node!r}, which is no computation")
            while stack:  # up: hand the value to the frames that wait for it
                frame = stack[-1]
                kind = type(frame)
                if kind is GeneratorType:
                    try:
                        node = frame.send(value)
                        break
                    except StopIteration as stop:
                        value = stop.value
                        stack.pop()
                        continue
                stack.pop()
                if kind is Bind:
                    node = frame.follow(value)
                    break
                if kind is Map:
                    value = frame.apply(value)
                elif kind is Attempt:
                    value = Success(value)
                elif kind is Scope:
                    scope = frame
            else:
                return value
        except get_cancelled_exc_class() as cancelled:
            with CancelScope(shield=True):  # finalizers may perform effects
                await _abandon(run, scope, stack, cancelled)
            raise
        except BaseException as error:
            scope, node = _unwind(scope, stack, error, of_handler=kind is Perform)  # type: ignore[possibly-undefined]  # set first


async def _abandon(run: Run, scope: Scope, stack: list[Frame], cancelled: BaseException) -> None:
    """Run every finalizer of the stack, each on its own: nothing swallows a cancellation.

    What a finalizer gives or fails with is dropped. Only an exception replaces the cancellation, and is raised here.
    """
    error = cancelled
    while stack:
        frame = stack.pop()
        if isinstance(frame, Scope):
            scope = frame
        if not isinstance(frame, GeneratorType):
            continue
        try:
            await _advance(run, scope, [frame], frame.throw(error))
            error = cancelled
        except StopIteration:
            error = cancelled
        except Failed:
            continue
        except BaseException as raised:
            error = raised
            if error is not cancelled:
                _note(error, scope)
    if error is not cancelled:
        raise error


def _unwind(scope: Scope, stack: list[Frame], error: BaseException, *, of_handler: bool) -> tuple[Scope, Node]:
    """Throw `error` up the stack to the first frame that goes on, and give what it goes on with."""
    if of_handler and not isinstance(error, Failed):
        setattr(error, _OF_HANDLER, True)
    _note(error, scope)
    while stack:
        frame = stack.pop()
        try:
            if isinstance(frame, GeneratorType):
                try:
                    node = frame.throw(error)
                except StopIteration as stop:
                    return scope, Pure(stop.value)
                stack.append(frame)
                return scope, node
            if isinstance(frame, Scope):
                scope = frame
            elif not isinstance(error, Failed):
                continue
            elif isinstance(frame, Alt):
                error.error = frame.apply(error.error)
            elif isinstance(frame, Lash):
                return scope, frame.recover(error.error)
            elif isinstance(frame, Attempt):
                return scope, Pure(Failure(error.error))
        except BaseException as raised:
            if raised is not error:
                error = raised
                _note(error, scope)
    raise error


def _watched(run: Run, scope: Scope, source: Node) -> Generator[Node, Any, Any]:
    """Do `source` inside of what the layers put around a scope."""
    with ExitStack() as entered:
        for enter in run.around_scope:
            entered.enter_context(enter(scope.path))
        return (yield source)


def _started(block: Block[Any, Any, Any]) -> Generator[Node, Any, Any]:
    generator = block.function(*block.arguments, **block.keywords)
    if not isinstance(generator, GeneratorType):
        raise TypeError(f"{block!r}: a do-block is a generator function; this one returned {generator!r}")
    if generator.gi_suspended or generator.gi_frame is None:
        raise TypeError(f"{block!r}: a do-block makes a fresh generator for each run; this one was begun before")
    return generator


def _thrown(result: object, node: Node) -> BaseException:
    """Make the exception for a result that is no success."""
    if isinstance(result, Failure):
        return Failed(result.failure())
    return TypeError(f"the handler of {node!r} must answer with a Result (Success or Failure); it gave {result!r}")


def is_of_handler(defect: Exception) -> bool:
    """Tell whether a handler, or a layer around it, raised an exception, and not the program."""
    return getattr(defect, _OF_HANDLER, False)


def _note(error: BaseException, scope: Scope) -> None:
    """Say once, on the exception itself, where in the computation it was raised."""
    if isinstance(error, Failed):
        error.path = scope.path if error.path is None else error.path
    elif scope.path and not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        error.add_note(_NOTE + show_path(scope.path))


_OF_HANDLER = "_crucible_of_handler"
_NOTE = "in crucible path "
_WAITING = frozenset({Map, Bind, Lash, Alt, Attempt})
