"""Random programs over the fake port, for properties: sequences, recoveries, scopes, `gather`."""

from collections.abc import Callable

from hypothesis import strategies as st

from crucible.effects import Do, Eff, Success, attempt, do, fail, fold, from_result, gather, pure, scoped
from tests.effects.fakes import Work, add, crash, refuse

Program = Eff[int, str, Work]

numbers = st.integers(-9, 9)
words = st.sampled_from(["a", "b", "a/b", "c~2"])


def leaves(*, crashing: bool) -> st.SearchStrategy[Program]:
    """Draw programs of one step."""
    every: list[st.SearchStrategy[Program]] = [
        numbers.map(pure),
        st.builds(add, numbers, numbers),
        words.map(refuse),
        words.map(fail),
    ]
    return st.one_of(*every, words.map(crash)) if crashing else st.one_of(*every)


def programs(*, crashing: bool = True) -> st.SearchStrategy[Program]:
    """Draw programs; with `crashing`, some of their calls raise."""
    return st.recursive(leaves(crashing=crashing), _larger, max_leaves=8)


def _larger(smaller: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    return st.one_of(
        st.builds(in_turn, st.lists(smaller, min_size=1, max_size=3)),
        st.builds(recovered, smaller, smaller),
        st.builds(with_finalizer, smaller, smaller),
        st.builds(scoped, words, smaller),
        st.builds(at_once, st.lists(smaller, max_size=3), st.sampled_from([None, 1, 2])),
        st.builds(lambda eff: attempt(eff).map(lambda result: fold(result, lambda n: n, len)), smaller),
    )


@do
def in_turn(parts: list[Program]) -> Do[str, Work, int]:
    """Run programs one after the other and add up what they give."""
    total = 0
    for part in parts:
        total += yield from part
    return (yield from add(total, len(parts)))


def recovered(first: Program, second: Program) -> Program:
    """Run the second where the first fails."""
    return first.lash(lambda why: second.map(lambda n: n + len(why)))


@do
def with_finalizer(body: Program, finalizer: Program) -> Do[str, Work, int]:
    """Run a finalizer whatever happens; its failure does not count."""
    try:
        return (yield from body)
    finally:
        yield from attempt(finalizer)


def at_once(parts: list[Program], limit: int | None) -> Program:
    """Run programs side by side."""
    return gather(parts, limit=limit).map(sum)


def functions() -> st.SearchStrategy[Callable[[int], int]]:
    """Draw plain functions."""
    return st.builds(lambda a, b: lambda n: a * n + b, numbers, numbers)


def continuations() -> st.SearchStrategy[Callable[[int], Program]]:
    """Draw functions from a value to the program that goes on with it."""
    return st.builds(lambda eff, limit: lambda n: going_on(eff, n, limit), programs(), numbers)


def going_on(eff: Program, n: int, limit: int) -> Program:
    """Go on with `eff` for small numbers, with a step that uses the number for others."""
    return eff.bind(lambda m: add(n, m)) if n <= limit else from_result(Success(n)).bind(lambda m: add(m, limit))


def recoveries() -> st.SearchStrategy[Callable[[str], Program]]:
    """Draw functions from an error to the program that goes on with it."""
    return st.builds(lambda eff, n: lambda why: add(len(why), n).bind(lambda _: eff), programs(), numbers)
