"""`lockstep`: two backends do the same, and the first difference between them is found."""

import math
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from itertools import chain
from numbers import Real
from typing import TypeVar

import attrs
from returns.result import Failure, Result, Success

from crucible.effects._handlers import Call, Handlers, Proceed
from crucible.effects._siblings import Siblings
from crucible.effects._wrappers._values import rebuilt

R = TypeVar("R")

IDENTIFIERS = frozenset({"id", "session_id", "path", "weights_path"})
"""Fields and parameters that name something a backend made: each backend has its own names."""

BESIDE = frozenset({"metrics"})
"""Fields with numbers that a backend may give beside the answer: only those that both give are compared."""

ABOUT = frozenset({"capabilities"})
"""Fields in which a backend says what it is: each has its own."""


@attrs.frozen
class Difference:
    """Where in two answers they differ, and what stands there."""

    where: str
    first: object
    second: object


class Disagreed(Exception):  # noqa: N818  # what happened, not a kind of error
    """Two backends answered the same call differently. `expecting` makes a typed failure of it."""

    def __init__(self, call: Call, difference: Difference) -> None:
        super().__init__(call, difference)
        self.call = call
        self.difference = difference

    def __str__(self) -> str:
        there = self.difference
        lines = [f"the backends disagree at {self.call}", f"  first difference: answer{there.where}"]
        return "\n".join([*lines, f"    first:  {there.first!r}", f"    second: {there.second!r}"])


def lockstep(
    first: Handlers[R],
    second: Handlers[R],
    *,
    tolerance: float = 1e-6,
    identifiers: Collection[str] = IDENTIFIERS,
) -> Handlers[R]:
    """Make every call on both, at the same time, and give the answer of `first`; stop where the answers differ.

    Numbers may differ by `tolerance`, relative or absolute. Failures agree when they are of one class. Identifiers (ids of
    sessions, paths of checkpoints) are not compared: the second is given its own names back where the program passes those
    of the first. Of the metrics of an answer those are compared that both give. An object that a journal could not hold,
    such as a tokenizer, is not compared either.

    Raises, while running: Disagreed at the first difference; LookupError for a port that the second does not handle.
    """
    names: dict[object, object] = {}

    def own_name(name: str, value: object) -> object:
        return names.get(value, value) if name in identifiers and isinstance(value, str) else value

    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        own = {name: rebuilt(value, own_name, name) for name, value in call.by_name.items()}
        answers: dict[int, Result[object, object]] = {}

        async def ask(index: int, answer: Callable[[Call], Awaitable[Result[object, object]]], asked: Call) -> None:
            answers[index] = await answer(asked)

        siblings = Siblings()
        asks = [
            partial(ask, 0, proceed, call),
            partial(ask, 1, second.answer, attrs.evolve(call, arguments=(), keywords=own)),
        ]
        await siblings.run([partial(siblings.guarded, index, each) for index, each in enumerate(asks)])
        for part in _pairs(answers[0], answers[1]):
            if part.where.rpartition(".")[2] in identifiers and isinstance(part.first, str):
                names[part.first] = part.second
            elif not _agree(part.first, part.second, tolerance):
                raise Disagreed(call, part)
        return answers[0]

    return first.wrap(around, *second.hooks)


def _pairs(first: object, second: object, where: str = "") -> Iterator[Difference]:
    """Walk through two answers side by side; what has another shape is given as it is."""
    kind = type(first)
    if kind is not type(second):
        yield Difference(where, first, second)
    elif isinstance(first, Success) and isinstance(second, Success):
        yield from _pairs(first.unwrap(), second.unwrap(), where)
    elif isinstance(first, Failure) and isinstance(second, Failure):
        yield Difference(where, type(first.failure()), type(second.failure()))
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            yield Difference(f"{where} (length)", len(first), len(second))
        parts = zip(first, second, strict=False)
        yield from chain.from_iterable(_pairs(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(parts))
    elif isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys() and where.rpartition(".")[2] not in BESIDE:
            yield Difference(f"{where} (keys)", sorted(map(str, first)), sorted(map(str, second)))
        both = [key for key in first if key in second]
        yield from chain.from_iterable(_pairs(first[key], second[key], f"{where}[{key!r}]") for key in both)
    elif attrs.has(kind):
        fields = [field.name for field in attrs.fields(kind) if field.name not in ABOUT]
        yield from chain.from_iterable(
            _pairs(getattr(first, name), getattr(second, name), f"{where}.{name}") for name in fields
        )
    else:
        yield Difference(where, first, second)


def _agree(first: object, second: object, tolerance: float) -> bool:
    if isinstance(first, Real) and isinstance(second, Real):
        a, b = float(first), float(second)
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
    if attrs.has(type(first)) or isinstance(first, _COMPARED) or isinstance(second, _COMPARED):
        return bool(first == second)
    return True


_COMPARED = (str, bytes, bool, type, list, tuple, dict, set, frozenset, type(None), Success, Failure)
