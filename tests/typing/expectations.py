"""Compares what mypy says of a program with what the program's own comments expect.

A line that must be rejected ends in `# E: code` or `# E: code "part of the message"`, once for each error mypy reports
there. Everything is compared exactly: an expected error that does not come is a problem, and so is an error that no
comment expects.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

_COMMENT = re.compile(r'# E: (?P<code>[a-z-]+)(?: "(?P<part>.+?)")?(?=\s*(?:# E|$))')
_REPORT = re.compile(r"^(?P<path>[^:]+):(?P<line>\d+):(?:\d+:)? error: (?P<message>.*?)  \[(?P<code>[a-z-]+)\]$")


@attrs.frozen(order=True)
class Place:
    """A line of a program."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@attrs.frozen(order=True)
class Expected:
    """An error that the checker must report."""

    place: Place
    code: str
    part: str = ""

    def met_by(self, reported: "Reported") -> bool:
        """Tell whether `reported` is this error."""
        same_place = self.place == reported.place and self.code == reported.code
        return same_place and self.part in reported.message


@attrs.frozen(order=True)
class Reported:
    """An error that the checker reported."""

    place: Place
    code: str
    message: str


def expected_in(program: Path, *, shown_as: str) -> list[Expected]:
    """Read the expectations in the comments of `program`.

    Raises: ValueError for a line with an `# E` that cannot be read.
    """
    found: list[Expected] = []
    for number, line in enumerate(program.read_text().splitlines(), start=1):
        matches = list(_COMMENT.finditer(line))
        if len(matches) != line.count("# E"):
            raise ValueError(f'{shown_as}:{number}: an expectation is written `# E: code` or `# E: code "part"`')
        place = Place(path=shown_as, line=number)
        found += [Expected(place=place, code=match["code"], part=match["part"] or "") for match in matches]
    return found


def reported_by(output: str) -> list[Reported]:
    """Read the errors in mypy's output; notes are left out.

    Raises: ValueError for an error that is not of the expected form (a crash, a syntax error, an option gone wrong).
    """
    found: list[Reported] = []
    for line in output.splitlines():
        match = _REPORT.match(line)
        if match:
            place = Place(path=match["path"], line=int(match["line"]))
            found.append(Reported(place=place, code=match["code"], message=match["message"]))
        elif ": note: " not in line:
            raise ValueError(f"mypy printed a line that is no report: {line}")
    return found


def problems(expected: Iterable[Expected], reported: Sequence[Reported]) -> list[str]:
    """List every difference between what was expected and what was reported; empty when they agree.

    >>> here = Place(path="program.py", line=3)
    >>> wanted = [Expected(place=here, code="arg-type", part="Clock")]
    >>> problems(wanted, [Reported(place=here, code="arg-type", message="expected Clock")])
    []
    >>> problems(wanted, [])
    ['program.py:3: accepted, but must be rejected: arg-type "Clock"']
    >>> problems([], [Reported(place=here, code="arg-type", message="expected Clock")])
    ['program.py:3: rejected for another reason: expected Clock  [arg-type]']
    """
    left = list(reported)
    missing: list[str] = []
    for wanted in sorted(expected):
        match = next((report for report in left if wanted.met_by(report)), None)
        if match is None:
            part = f' "{wanted.part}"' if wanted.part else ""
            missing.append(f"{wanted.place}: accepted, but must be rejected: {wanted.code}{part}")
        else:
            left.remove(match)
    return missing + [f"{it.place}: rejected for another reason: {it.message}  [{it.code}]" for it in sorted(left)]
