"""The programs that must not type-check do not, each for the reason written beside it.

The programs in `accept/` are part of the normal mypy run, and of pyright's (`make types`).
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typing.expectations import Expected, Place, Reported, expected_in, problems, reported_by

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((Path(__file__).parent / "reject").glob("*.py"))


MYPY_ONLY = frozenset({"unused-awaitable"})  # pyright reports only a coroutine that is dropped, no other awaitable


def mypy(*files: str) -> str:
    """Run mypy once, over `files`, with the project's own settings."""
    options = ["--no-error-summary", "--no-color-output", "--hide-error-context", "--show-absolute-path"]
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *options, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.stdout


def test_each_rejected_program_fails_for_exactly_the_reasons_written_in_it() -> None:
    expected = [error for program in PROGRAMS for error in expected_in(program, shown_as=str(program))]
    reported = reported_by(mypy(*map(str, PROGRAMS)))
    assert not problems(expected, reported), "\n".join(problems(expected, reported))


def pyright(*files: str) -> set[Place]:
    """Run pyright once, over `files`, and give the lines it reports."""
    command = [sys.executable, "-m", "pyright", "--outputjson", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {Place(path=it["file"], line=it["range"]["start"]["line"] + 1) for it in found if it["severity"] == "error"}


def test_pyright_rejects_the_same_lines() -> None:
    expected = [error for program in PROGRAMS for error in expected_in(program, shown_as=str(program))]
    reported = pyright(*map(str, PROGRAMS))
    accepted = sorted(error for error in expected if error.code not in MYPY_ONLY and error.place not in reported)
    assert not accepted, "\n".join(f"{error.place}: accepted by pyright" for error in accepted)


def test_each_rejected_program_expects_something() -> None:
    assert PROGRAMS
    assert [p.name for p in PROGRAMS if not expected_in(p, shown_as=p.name)] == []


class TestTheComparison:
    here = Place(path="program.py", line=3)
    report = Reported(place=here, code="arg-type", message='Argument 1 to "run" needs Clock')

    def test_agrees_on_the_same_error(self) -> None:
        assert problems([Expected(place=self.here, code="arg-type", part="needs Clock")], [self.report]) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            Expected(place=Place(path="program.py", line=4), code="arg-type"),
            Expected(place=Place(path="another.py", line=3), code="arg-type"),
            Expected(place=here, code="call-arg"),
            Expected(place=here, code="arg-type", part="needs Store"),
        ],
        ids=["line", "file", "code", "message"],
    )
    def test_tells_of_a_difference_from_both_sides(self, wrong: Expected) -> None:
        assert len(problems([wrong], [self.report])) == 2

    def test_counts_errors_of_the_same_kind_on_one_line(self) -> None:
        one = Expected(place=self.here, code="arg-type")
        assert len(problems([one, one], [self.report])) == 1
        assert len(problems([one], [self.report, self.report])) == 1

    def test_refuses_output_that_is_no_report(self) -> None:
        with pytest.raises(ValueError, match="no report"):
            reported_by("program.py:3: error: invalid syntax")

    def test_refuses_a_comment_that_it_cannot_read(self, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text("x = 1  # E arg-type\n")
        with pytest.raises(ValueError, match="an expectation is written"):
            expected_in(program, shown_as="program.py")
