"""Compositions of stages: loops, conditionals, parallel branches, and reuse inside a larger state."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

from crucible.effects import Do, Eff, Result, do, fold_stream, from_result, gather, scoped
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.outline import Kind, Outline, name_of, ports_of
from crucible.kitchen.stage import Stage, Undo, as_stage

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
E2 = TypeVar("E2")
I = TypeVar("I")  # noqa: E741  # an item
R = TypeVar("R")
R2 = TypeVar("R2")
S = TypeVar("S")
T = TypeVar("T")


def loop(
    name: str,
    over: Callable[[S], Iterable[I]],
    body: Callable[[Context[Iteration[S, I]]], Eff[Context[S], E, R]],
) -> Stage[Context[S], Context[S], E, R]:
    """Run `body` once for each item of `over(state)`, each pass on the state that the last one gave.

    `over` is asked once, with the state at the beginning. Nothing to go over means no pass.
    """
    part = as_stage(body)

    @do
    def execute(context: Context[S], undo: list[Undo]) -> Do[E, R, Context[S]]:
        for index, item in enumerate(over(context.state)):
            iteration = Iteration(state=context.state, item=item, index=index)
            context = yield from scoped(f"{name}[{index}]", part.execute(context.to(iteration), undo))
        return context

    return Stage(_around("loop", name, part), execute)


def stream_loop(
    name: str,
    produce: Callable[[S, int], Eff[I | None, E2, R2]],
    body: Callable[[Context[Iteration[S, I]]], Eff[Context[S], E, R]],
    *,
    buffer: int | Callable[[S], int] = 4,
    ready: Callable[[S, int], bool] | None = None,
) -> Stage[Context[S], Context[S], E | E2, R | R2]:
    """Run `body` for each item that `produce(newest_state, index)` makes, while it makes the next, until it gives None.

    At most `buffer` items are made ahead, or as many as it gives for the first state. The producer sees the newest state that
    the body gave, not only the first, and waits where `ready(newest_state, index)` does not hold; it must once none is ahead.
    """
    part = as_stage(body)

    def execute(context: Context[S], undo: list[Undo]) -> Eff[Context[S], E | E2, R | R2]:
        def step(latest: Context[S], index: int, item: I) -> Eff[Context[S], E, R]:
            return part.execute(latest.to(Iteration(state=latest.state, item=item, index=index)), undo)

        def make(latest: Context[S], index: int) -> Eff[I | None, E2, R2]:
            return produce(latest.state, index)

        size = buffer(context.state) if callable(buffer) else buffer
        may_begin = None if ready is None else lambda latest, index: ready(latest.state, index)
        return scoped(name, fold_stream(make, step, context, buffer=size, ready=may_begin))

    return Stage(attrs.evolve(_around("stream loop", name, part), ports=ports_of(produce)), execute)


def conditional(
    predicate: Callable[[S], bool],
    body: Callable[[Context[S]], Eff[Context[S], E, R]],
    otherwise: Callable[[Context[S]], Eff[Context[S], E, R]] | None = None,
) -> Stage[Context[S], Context[S], E, R]:
    """Run `body` when `predicate(state)` holds, `otherwise` (or nothing) when it does not."""
    part = as_stage(body)
    other = None if otherwise is None else as_stage(otherwise)

    @do
    def execute(context: Context[S], undo: list[Undo]) -> Do[E, R, Context[S]]:
        chosen = part if predicate(context.state) else other
        return context if chosen is None else (yield from chosen.execute(context, undo))

    outline = _around("conditional", f"if {name_of(predicate)}", part)
    if other is not None:
        then = Outline(kind="branch", name="then", parts=outline.parts)
        outline = attrs.evolve(outline, parts=(then, _around("branch", "else", other)))
    return Stage(outline, execute)


def checked(
    part: Callable[[Context[S]], Eff[Context[T], E, R]], check: Callable[[S, T], Result[None, E2]]
) -> Stage[Context[S], Context[T], E | E2, R]:
    """Run `part`, and fail where `check` of the state before and the state after it does."""
    inner = as_stage(part)

    @do
    def execute(context: Context[S], undo: list[Undo]) -> Do[E | E2, R, Context[T]]:
        after = yield from inner.execute(context, undo)
        yield from from_result(check(context.state, after.state))
        return after

    return Stage(inner.outline, execute)


def parallel(
    name: str,
    branches: Sequence[Callable[[Context[S]], Eff[Context[T], E, R]]],
    merge: Callable[[S, Sequence[T]], B],
    *,
    limit: int | None = None,
) -> Stage[Context[S], Context[B], E, R]:
    """Run all branches at once, at most `limit`, each on the same context; `merge` makes one state of theirs, in order.

    The first branch that fails cancels the others. Completed stages of every branch are rolled back.
    """
    parts = [as_stage(branch) for branch in branches]

    @do
    def execute(context: Context[S], undo: list[Undo]) -> Do[E, R, Context[B]]:
        undos: list[list[Undo]] = [[] for _ in parts]
        try:
            done = yield from scoped(
                name, gather([part.execute(context, own) for part, own in zip(parts, undos, strict=True)], limit=limit)
            )
        finally:
            undo.extend(one for own in undos for one in own)
        return context.to(merge(context.state, [after.state for after in done]))

    return Stage(Outline(kind="parallel", name=name, parts=tuple(part.outline for part in parts)), execute)


def zoom(
    get: Callable[[S], A],
    put: Callable[[S, B], T],
    part: Callable[[Context[A]], Eff[Context[B], E, R]],
) -> Stage[Context[S], Context[T], E, R]:
    """Run a stage of a smaller state inside a larger one: `get` takes the part out, `put` puts the new part in."""
    inner = as_stage(part)

    @do
    def execute(context: Context[S], undo: list[Undo]) -> Do[E, R, Context[T]]:
        after = yield from inner.execute(context.to(get(context.state)), undo)
        return context.to(put(context.state, after.state))

    return Stage(inner.outline, execute)


def _around(kind: Kind, name: str, part: Stage[A, B, E, R]) -> Outline:
    parts = part.outline.parts if part.outline.kind == "sequence" else (part.outline,)
    return Outline(kind=kind, name=name, parts=parts)
