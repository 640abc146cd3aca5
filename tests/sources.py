"""The project's own modules, as the tests of its habits read them."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "crucible").rglob("*.py"))
PROGRAMS = [*sorted((ROOT / "examples").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]


def module_name(path: Path) -> str:
    """Name the module in `path`.

    >>> module_name(ROOT / "crucible" / "effects" / "__init__.py")
    'crucible.effects'
    """
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tree_of(path: Path) -> ast.Module:
    """Parse the module in `path`."""
    return ast.parse(path.read_text(), filename=str(path))
