"""The shape of a workflow as data, and the two ways to look at it: as text and as a Mermaid diagram."""

import types
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

from crucible.effects import Eff, Port

Kind: TypeAlias = Literal["stage", "sequence", "workflow", "loop", "stream loop", "conditional", "parallel", "branch"]


@attrs.frozen(kw_only=True)
class Outline:
    """A stage or a composition of stages: its kind, name, what it does, the ports that it itself needs, its parts."""

    kind: Kind
    name: str
    doc: str = ""
    ports: frozenset[type[Port]] = frozenset()
    parts: "tuple[Outline, ...]" = ()

    def all_ports(self) -> frozenset[type[Port]]:
        """The ports that this and all its parts need."""
        return frozenset(port for outline in self.walk() for port in outline.ports)

    def walk(self) -> "Iterator[Outline]":
        """Give this outline and all its parts, in the order in which they run."""
        waiting = [self]
        while waiting:
            outline = waiting.pop()
            yield outline
            waiting.extend(reversed(outline.parts))

    def show(self) -> str:
        """Write the workflow as an indented tree, one line a stage, with the ports each needs.

        >>> stage = Outline(kind="stage", name="load", doc="Load rows.")
        >>> print(Outline(kind="loop", name="epochs", parts=(stage,)).show())
        loop epochs
          load  Load rows.
        """
        lines, waiting = [], [(0, self)]
        while waiting:
            depth, outline = waiting.pop()
            inner = depth
            if outline.kind != "sequence":
                lines.append("  " * depth + _line(outline))
                inner += 1
            waiting.extend((inner, part) for part in reversed(outline.parts))
        return "\n".join(lines)

    def mermaid(self) -> str:
        """Write the workflow as a Mermaid flowchart: loops, conditionals and branches are boxes around their parts."""
        lines = ["flowchart TD"]
        _draw(self, lines, _Names(), indent=1)
        return "\n".join(lines)


def name_of(function: Callable[..., object]) -> str:
    """Name a function, what a `partial` was made of, or the class of another callable.

    >>> name_of(sorted), name_of(partial(sorted, reverse=True))
    ('sorted', 'sorted')
    """
    plain = _plain(function)
    return getattr(plain, "__name__", type(plain).__name__)


def doc_of(function: Callable[..., object]) -> str | None:
    """Give the docstring of a function, or of what a `partial` was made of."""
    return _plain(function).__doc__


def _plain(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, partial):
        function = function.func
    return function


def ports_of(function: Callable[..., object]) -> frozenset[type[Port]]:
    """Read the ports that a stage function needs from its return annotation, `Do[error, ports, value]` or `Eff[...]`.

    An annotation that cannot be evaluated, or names a type variable, adds nothing.
    """
    returned = _returned(function)
    yielded = returned if get_origin(returned) is Eff else next(iter(get_args(returned)), None)
    needed = get_args(yielded)[2:3]
    candidates = get_args(needed[0]) if needed and get_origin(needed[0]) in (Union, types.UnionType) else needed
    return frozenset(port for port in candidates if isinstance(port, type) and issubclass(port, Port))


def ports_within(function: Callable[..., object]) -> frozenset[type[Port]]:
    """Read every port that the return annotation of a function names, also inside of what it gives: `Eff[ProblemEnv[Clock], ...]`."""
    found: set[type[Port]] = set()
    waiting = [_returned(function)]
    while waiting:
        form = waiting.pop()
        if isinstance(form, type) and get_origin(form) is None and issubclass(form, Port):
            found.add(form)
        waiting.extend(get_args(form))
    return frozenset(found)


def _returned(function: Callable[..., object]) -> object:
    """Give the return annotation of a function; None where it has none or it cannot be evaluated."""
    plain = _plain(function)
    try:
        return get_type_hints(plain if hasattr(plain, "__name__") else type(plain).__call__).get("return")
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def _line(outline: Outline) -> str:
    label = outline.name if outline.kind in ("stage", "branch", "conditional") else f"{outline.kind} {outline.name}"
    ports = f"  [{', '.join(sorted(port.__name__ for port in outline.ports))}]" if outline.ports else ""
    return label + ports + (f"  {outline.doc}" if outline.doc else "")


class _Names:
    """Gives each box of a diagram an identifier of its own."""

    def __init__(self) -> None:
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"n{self._count}"


def _draw(outline: Outline, lines: list[str], names: _Names, *, indent: int) -> tuple[str, str]:
    """Draw an outline; give the boxes where it begins and where it ends."""
    pad = "  " * indent
    if outline.kind == "stage" or not outline.parts:
        name = names.fresh()
        lines.append(f'{pad}{name}["{_label(outline, outline.name)}"]')
        return name, name
    if outline.kind == "sequence":
        return _chain(outline, lines, names, indent=indent)
    box = names.fresh()
    title = outline.name if outline.kind in ("workflow", "branch", "conditional") else f"{outline.kind}: {outline.name}"
    lines.append(f'{pad}subgraph {box}["{_label(outline, title)}"]')
    if outline.kind == "parallel" or outline.parts[0].kind == "branch":
        for part in outline.parts:
            _draw(part, lines, names, indent=indent + 1)
    else:
        first, last = _chain(outline, lines, names, indent=indent + 1)
        if outline.kind in ("loop", "stream loop"):
            lines.append(f"{pad}  {last} -.-> {first}")
    lines.append(f"{pad}end")
    return box, box


def _label(outline: Outline, title: str) -> str:
    """Write what stands in a box: a title, in which nothing is markup, and the ports below it."""
    ports = "".join(f"<br/><i>{port}</i>" for port in sorted(port.__name__ for port in outline.ports))
    return title.translate(_ESCAPED) + ports


_ESCAPED = str.maketrans({mark: f"#{ord(mark)};" for mark in '#&"<>'})


def _chain(outline: Outline, lines: list[str], names: _Names, *, indent: int) -> tuple[str, str]:
    ends = [_draw(part, lines, names, indent=indent) for part in outline.parts]
    for (_, before), (after, _) in pairwise(ends):
        lines.append(f"{'  ' * indent}{before} --> {after}")
    return ends[0][0], ends[-1][1]
