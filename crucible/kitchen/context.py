"""`Context`: what a stage is given and what it gives on."""

from typing import Generic, TypeVar

import attrs

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
I_co = TypeVar("I_co", covariant=True)


@attrs.frozen(kw_only=True)
class Context(Generic[S_co]):
    """The state of a run between two stages.

    `state` is a frozen value whose class says what has been done so far: a stage that needs a session takes a
    `Context[...]` whose state has one, so a step before its session is a type error.

    >>> Context.start(1).to("opened").state
    'opened'
    """

    state: S_co
    run_id: str = "run"

    @staticmethod
    def start(state: S, *, run_id: str = "run") -> "Context[S]":
        """Make the context in which a workflow begins."""
        return Context(state=state, run_id=run_id)

    def to(self, state: S) -> "Context[S]":
        """Give the same run with another state."""
        return Context(state=state, run_id=self.run_id)


@attrs.frozen(kw_only=True)
class Iteration(Generic[S_co, I_co]):
    """The state at the beginning of one pass of a loop: the loop's state, the item, and its index from 0."""

    state: S_co
    item: I_co
    index: int
