"""Scores of programs: they are run, in a sandbox, on inputs whose outputs are known."""

import re
from collections.abc import Sequence

import attrs

from crucible.effects import Eff, gather, perform
from crucible.train.errors import TrainError
from crucible.train.ports import CodeClient
from crucible.train.types import CodeLimits, CodeProgram, CodeRun

_FENCED = re.compile(
    r"^[ \t]*```[ \t]*(?:python|py|python3)?[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE
)


@attrs.frozen(kw_only=True)
class CodeCase:
    """What a program reads, and what it must write."""

    stdin: str = ""
    stdout: str


def extract_code(answer: str) -> str | None:
    r"""Find the program in an answer: its last fenced block without a language, or in Python. None when there is none.

    >>> extract_code("First:\n```python\nprint(1)\n```\nBetter:\n```\nprint(2)\n```\n")
    'print(2)\n'
    """
    blocks: list[str] = _FENCED.findall(answer)
    return blocks[-1] if blocks else None


def passes(run: CodeRun, case: CodeCase) -> bool:
    """Tell whether a run exited well and wrote what it must; white space at the ends of lines and of the text does not count."""
    return run.succeeded and _lines(run.stdout) == _lines(case.stdout)


def code_score(
    source: str, cases: Sequence[CodeCase], *, limits: CodeLimits = CodeLimits(), at_once: int | None = None
) -> Eff[float, TrainError, CodeClient]:
    """Give the share of the cases that a program passes, each in a run of its own, `at_once` of them side by side.

    What is expected never enters the sandbox, so a program can pass only by writing it. `score == 1.0` is "all passed".

    Fails: as the client does; a sandbox that cannot run the program is no wrong answer.
    Raises: ValueError for no case at all.
    """
    if not cases:
        raise ValueError("a program needs at least one case: with none, every program would pass")
    runs = (perform(CodeClient.run, CodeProgram(source=source, stdin=case.stdin, limits=limits)) for case in cases)
    return gather(runs, limit=at_once).map(
        lambda done: sum(passes(run, case) for run, case in zip(done, cases, strict=True)) / len(cases)
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
