"""`Recipe`: a workflow with a name and a configuration to start from."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import attrs

from crucible.effects import Port
from crucible.kitchen.context import Context
from crucible.kitchen.stage import Stage

B_co = TypeVar("B_co", covariant=True)
C = TypeVar("C")
E_co = TypeVar("E_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True)
class InvalidConfig:
    """A configuration with problems: all of them."""

    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "the configuration cannot be run:\n" + "\n".join(f"  - {problem}" for problem in self.problems)


def _no_problems(config: object) -> Sequence[str]:
    return ()


@attrs.frozen(kw_only=True)
class Recipe(Generic[C, B_co, E_co, R_co]):
    """A named workflow, what it is for, a default configuration, and what makes a configuration impossible.

    `validate_config` gives the problems of a configuration, each a sentence that names the field and the fix.
    """

    name: str
    description: str
    workflow: Stage[Context[C], Context[B_co], E_co, R_co]
    default_config: C
    validate_config: Callable[[C], Sequence[str]] = _no_problems

    @property
    def required_ports(self) -> frozenset[type[Port]]:
        """The ports that the workflow needs, read from its stages."""
        return self.workflow.outline.all_ports()
