"""`Stage`: a pure function from a context to a computation of the next context, with a name.

A stage that failed, and whatever came before it in the same workflow, is undone by the rollbacks of the stages that
completed, the last first. That holds for typed failures, exceptions, time limits and ctrl-C alike.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, Never, TypeAlias, TypeVar, overload

import attrs

from crucible.effects import (
    Do,
    Eff,
    Failure,
    Port,
    Result,
    attempt,
    do,
    from_result,
    pure,
    scoped,
    tell,
    uncancellable,
)
from crucible.kitchen.context import Context
from crucible.kitchen.outline import Outline, doc_of, name_of, ports_of
from crucible.kitchen.telling import told_as_stage, told_as_workflow
from crucible.telemetry.events import StageFailed

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E")
E2 = TypeVar("E2")
R = TypeVar("R")
R2 = TypeVar("R2")
A_contra = TypeVar("A_contra", contravariant=True)
B_co = TypeVar("B_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

Undo: TypeAlias = Callable[[], Eff[object, Never, object]]
Execute: TypeAlias = Callable[[A, list[Undo]], Eff[B, E, R]]
"""Runs a stage; for what completed and may have to be undone later, it adds to the list."""


class Stage(Generic[A_contra, B_co, E_co, R_co]):
    """A step from an `A` to a `B` that can fail with `E` and needs the ports `R`.

    `a >> b` runs `b` on what `a` gave; any function from a context to an `Eff` can stand on the right. Calling a stage
    gives the computation; nothing runs before `Handlers.run`. `function` is what a stage that is no composition was made of.
    """

    __slots__ = ("_execute", "function", "outline")

    def __init__(
        self,
        outline: Outline,
        execute: Execute[A_contra, B_co, E_co, R_co],
        function: Callable[..., object] | None = None,
    ) -> None:
        self.outline = outline
        self.function = function
        self._execute = execute

    @property
    def name(self) -> str:
        """The name of the stage, as it stands in paths and events."""
        return self.outline.name

    def __call__(self, context: A_contra) -> Eff[B_co, E_co, R_co]:
        """Make the computation of this stage on `context`."""
        return _with_rollback(self, context)

    def __rshift__(self, other: Callable[[B_co], Eff[C, E2, R2]]) -> "Stage[A_contra, C, E_co | E2, R_co | R2]":
        """Run `other` on what this stage gives."""
        following = as_stage(other)
        outline = Outline(
            kind="sequence", name="", parts=(*_sequence_parts(self.outline), *_sequence_parts(following.outline))
        )
        return Stage(outline, partial(_in_sequence, self, following))

    def execute(self, context: A_contra, undo: list[Undo]) -> Eff[B_co, E_co, R_co]:
        """Run as a part of a larger workflow, which keeps what is to be undone."""
        return self._execute(context, undo)

    def named(self, name: str, doc: str = "") -> "Stage[A_contra, B_co, E_co, R_co]":
        """Make a workflow of this stage: its paths begin with `name`, its beginning and end are told."""
        outline = Outline(kind="workflow", name=name, doc=doc, parts=_sequence_parts(self.outline))
        return Stage(outline, partial(_as_workflow, self, name))

    def needing(self, ports: Iterable[type[Port]]) -> "Stage[A_contra, B_co, E_co, R_co]":
        """Say that this stage needs these ports too, where its annotation names them by a type variable."""
        outline = attrs.evolve(self.outline, ports=self.outline.ports | frozenset(ports))
        return Stage(outline, self._execute, self.function)

    def show(self) -> str:
        """Write the workflow as an indented tree."""
        return self.outline.show()

    def mermaid(self) -> str:
        """Write the workflow as a Mermaid flowchart."""
        return self.outline.mermaid()

    def __repr__(self) -> str:
        return f"<Stage {self.name or ' >> '.join(part.name for part in self.outline.parts)}>"


Validate: TypeAlias = Callable[[A], Result[None, E]]
Rollback: TypeAlias = Callable[[B], Eff[object, Never, R]]


@overload
def stage(function: Callable[[A], Do[E, R, B]], /) -> Stage[A, B, E, R]: ...
@overload
def stage(*, rollback: Rollback[B, R2]) -> Callable[[Callable[[A], Do[E, R, B]]], Stage[A, B, E, R | R2]]: ...
@overload
def stage(*, validate: Validate[A, E2]) -> Callable[[Callable[[A], Do[E, R, B]]], Stage[A, B, E | E2, R]]: ...
@overload
def stage(
    *, validate: Validate[A, E2], rollback: Rollback[B, R2]
) -> Callable[[Callable[[A], Do[E, R, B]]], Stage[A, B, E | E2, R | R2]]: ...
def stage(
    function: Callable[[A], Do[E, R, B]] | None = None,
    /,
    *,
    validate: Validate[A, E2] | None = None,
    rollback: Rollback[B, R2] | None = None,
) -> object:
    """Make a stage of a generator function from a context to the next.

    `validate(context)` is pure and runs first; its failure is the stage's. `rollback(context)` is given the context that
    the stage made, and undoes the stage when something after it fails; it may not fail itself.

    >>> from typing import Never
    >>> from crucible.effects import Handlers, pure
    >>> from crucible.kitchen.context import Context
    >>> @stage
    ... def double(context: Context[int]) -> Do[Never, Never, Context[int]]:
    ...     number = yield from pure(context.state * 2)
    ...     return context.to(number)
    >>> Handlers.none().run((double >> double)(Context.start(3))).unwrap().state
    12
    """

    def decorate(body: Callable[[A], Do[E, R, B]]) -> Stage[A, B, E | E2, R | R2]:
        ports = ports_of(body) | (ports_of(rollback) if rollback is not None else frozenset())
        return _leaf(body, do(body), ports, validate, rollback)

    return decorate if function is None else decorate(function)


def pure_stage(function: Callable[[A], B], /) -> Stage[A, B, Never, Never]:
    """Make a stage of a plain function from a context to the next, which needs nothing and cannot fail."""

    def body(context: A) -> Eff[B, Never, Never]:
        return pure(function(context))

    return _leaf(function, body, frozenset(), None, None)


@overload
def generic_stage(function: Callable[[A], Do[E, R, B]], /) -> Callable[[A], Eff[B, E, R]]: ...
@overload
def generic_stage(
    *, rollback: Callable[..., Eff[object, Never, R2]]
) -> Callable[[Callable[[A], Do[E, R, B]]], Callable[[A], Eff[B, E, R | R2]]]: ...
def generic_stage(
    function: Callable[[A], Do[E, R, B]] | None = None,
    /,
    *,
    rollback: Callable[..., Eff[object, Never, R2]] | None = None,
) -> object:
    """Make a stage of a generator function that works on any context of a kind, as in `Context[S] -> Context[S]`.

    It is a `Stage` like any other; its type stays that of a function, so that a checker fills in `S` at each `>>`. The
    context that `rollback` is given is not checked, for the same reason.
    """
    return stage(function) if function is not None else stage(rollback=rollback) if rollback is not None else stage


@overload
def starting_from(config: type[A]) -> Stage[Context[A], Context[A], Never, Never]: ...
@overload
def starting_from(config: type[A], *, validate: Validate[A, E]) -> Stage[Context[A], Context[A], E, Never]: ...
def starting_from(
    config: type[A], *, validate: Validate[A, E] | None = None
) -> Stage[Context[A], Context[A], E, Never]:
    """Begin a workflow whose first context holds a configuration of this class; it does nothing itself.

    Fails: as `validate` does, which says whether the configuration can be run at all.
    """

    def execute(context: Context[A], undo: list[Undo]) -> Eff[Context[A], E, Never]:
        return pure(context) if validate is None else from_result(validate(context.state).map(lambda _: context))

    return Stage(Outline(kind="sequence", name="", doc=config.__name__), execute)


def as_stage(function: Callable[[A], Eff[B, E, R]]) -> Stage[A, B, E, R]:
    """Give `function` itself when it is a stage, and the stage of that name when it is a plain function."""
    if isinstance(function, Stage):
        return function
    return _leaf(function, function, ports_of(function), None, None)


def _leaf(
    function: Callable[..., object],
    body: Callable[[A], Eff[B, E, R]],
    ports: frozenset[type],
    validate: Validate[A, E2] | None,
    rollback: Rollback[B, R2] | None,
) -> Stage[A, B, E | E2, R | R2]:
    name = name_of(function)

    def execute(context: A, undo: list[Undo]) -> Eff[B, E | E2, R | R2]:
        return scoped(name, told_as_stage(name, _run_leaf(body, validate, rollback, context, undo)))

    summary = (doc_of(function) or "").strip().split("\n")[0]
    return Stage(Outline(kind="stage", name=name, doc=summary, ports=ports), execute, function)


@do
def _run_leaf(
    body: Callable[[A], Eff[B, E, R]],
    validate: Validate[A, E2] | None,
    rollback: Rollback[B, R2] | None,
    context: A,
    undo: list[Undo],
) -> Do[E | E2, R | R2, B]:
    if validate is not None:
        yield from from_result(validate(context))
    after = yield from body(context)
    if rollback is not None:
        undo.append(partial(rollback, after))
    return after


@do
def _with_rollback(part: Stage[A, B, E, R], context: A) -> Do[E, R, B]:
    """Run a whole workflow; when it does not complete, undo what did, the last first."""
    undo: list[Undo] = []
    try:
        return (yield from part.execute(context, undo))
    except GeneratorExit:
        raise
    except BaseException as error:
        while undo:
            yield from uncancellable(scoped("rollback", _undone(undo.pop(), error)))
        raise


@do
def _undone(undo: Undo, error: BaseException) -> Do[Never, Never, None]:
    """Roll one stage back. A rollback that goes wrong is told, and noted on what it was to undo: others come after it."""
    try:
        result = yield from attempt(undo())  # type: ignore[misc]  # its ports are among the stage's R
        problem = str(result.failure()) if isinstance(result, Failure) else None
    except Exception as defect:  # noqa: BLE001  # a defect of one rollback must not keep the others from running
        problem = repr(defect)
    if problem is not None:
        error.add_note(f"a rollback went wrong: {problem}")
        yield from tell(StageFailed(stage="rollback", error=problem))


@do
def _in_sequence(
    first: Stage[A, B, E, R], second: Stage[B, C, E2, R2], context: A, undo: list[Undo]
) -> Do[E | E2, R | R2, C]:
    between = yield from first.execute(context, undo)
    return (yield from second.execute(between, undo))


def _as_workflow(part: Stage[A, B, E, R], name: str, context: A, undo: list[Undo]) -> Eff[B, E, R]:
    # `bind` puts off the making: nested workflows then cost stack of the driver's, not of Python's
    return scoped(name, told_as_workflow(name, pure(context).bind(lambda begun: part.execute(begun, undo))))


def _sequence_parts(outline: Outline) -> tuple[Outline, ...]:
    return outline.parts if outline.kind == "sequence" else (outline,)
