"""What is wrong with a spec, as values: where, what, and what to do about it."""

import attrs


class UnreadableError(Exception):
    """A text that is not in its format: what is wrong, and what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix or "look at that place in the text"


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong with a spec.

    >>> print(Problem(path="training.epochs", message="must be at least 1, not 0", fix="give a larger number"))
    training.epochs: must be at least 1, not 0 (give a larger number)

    Args:
        path: from the top of the spec, as in `outputs[0].formats`; empty for the whole.
        message: what is wrong.
        fix: what to do about it.
    """

    path: str
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message} ({self.fix})"

    def below(self, path: str) -> "Problem":
        """Say the same of a spec that lies at `path` of a larger one.

        >>> Problem(path="[1]", message="m", fix="f").below("weights").path
        'weights[1]'
        """
        return attrs.evolve(self, path=joined(path, self.path))


def joined(path: str, rest: str) -> str:
    """Join two paths.

    >>> joined("outputs", "[0]"), joined("training", "epochs"), joined("", "id"), joined("id", "")
    ('outputs[0]', 'training.epochs', 'id', 'id')
    """
    return f"{path}.{rest}" if path and rest and not rest.startswith("[") else f"{path}{rest}"


@attrs.frozen(kw_only=True)
class InvalidSpec:
    """A spec that cannot be used: all its problems, and where it came from (a file's name, or empty)."""

    problems: tuple[Problem, ...]
    source: str = ""

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        heading = f"{self.source or 'the spec'} has {count}:"
        return "\n".join((heading, *(f"  - {problem}" for problem in self.problems)))
