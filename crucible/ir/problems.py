"""What is wrong with a spec, as values: where, what, and what to do about it."""

import attrs

from crucible.fields import Problem, joined

__all__ = ["InvalidSpec", "Problem", "UnreadableError", "joined"]


class UnreadableError(Exception):
    """A text that is not in its format: what is wrong, and what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix or "look at that place in the text"


@attrs.frozen(kw_only=True)
class InvalidSpec:
    """A spec that cannot be used: all its problems, and where it came from (a file's name, or empty)."""

    problems: tuple[Problem, ...]
    source: str = ""

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        heading = f"{self.source or 'the spec'} has {count}:"
        return "\n".join((heading, *(f"  - {problem}" for problem in self.problems)))
