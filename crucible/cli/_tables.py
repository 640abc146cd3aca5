"""Tables of text for a terminal or a pipe."""

from collections.abc import Sequence


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows below the names of their columns, two spaces apart; control characters become spaces.

    >>> print(table(["run", "loss"], [["a", "0.5"], ["longer", "1"]]))
    run     loss
    a       0.5
    longer  1
    """
    cells = [["".join(it if it.isprintable() else " " for it in cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
