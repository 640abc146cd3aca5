"""What is wrong, as a value: where, what, and what to do about it."""

import attrs


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong with a spec or a configuration.

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
