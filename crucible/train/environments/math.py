r"""`math_env`: a problem whose answer stands in `\boxed{}`."""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import attrs

from crucible.effects import Do, Eff, Failure, Result, Success, do
from crucible.train.environments.interface import EnvironmentFailed
from crucible.train.environments.problems import ProblemEnv
from crucible.train.errors import InvalidRequest
from crucible.train.renderers import Renderer
from crucible.train.types import Message, Row

R = TypeVar("R")

Grade: TypeAlias = Callable[[str, str], Eff[float, EnvironmentFailed, R]]
"""Grades an answer, the first argument, against the expected one: 1.0 for right, 0.0 for wrong, a failure for neither."""

QUESTION_SUFFIX = r" Write your answer in \boxed{} format."

BOXED_EXAMPLE: tuple[Message, ...] = (
    Message(role="user", content="How many r's are in strawberry?" + QUESTION_SUFFIX),
    Message(
        role="assistant",
        content="Let's spell the word out and number all the letters: 1) s 2) t 3) r 4) a 5) w 6) b 7) e 8) r 9) r 10) y. "
        r"We have r's at positions 3, 8, and 9. \boxed{3}",
    ),
)
"""A conversation that shows the form, to be put before the question."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_QUESTIONS = ("problem", "question", "input", "prompt", "instruction")
_ANSWERS = ("answer", "expected", "solution")


@attrs.frozen(kw_only=True)
class MathProblem:
    """A problem and its answer."""

    question: str
    answer: str


def last_boxed(text: str) -> str | None:
    r"""Give what stands in the last box that is closed; None when there is none. Braces may nest to any depth.

    >>> last_boxed(r"first \boxed{1}, then \boxed{\frac{1}{\sqrt{2}}}")
    '\\frac{1}{\\sqrt{2}}'
    >>> last_boxed(r"\boxed{\{1, 2\}}"), last_boxed("no box"), last_boxed(r"\boxed{1} or \boxed{2")
    ('\\{1, 2\\}', None, '1')
    """
    for start in reversed([found.end() for found in _BOX.finditer(text)]):
        end = _closing(text, start)
        if end is not None:
            return text[start:end].strip()
    return None


def _closing(text: str, start: int) -> int | None:
    """Find the brace that closes the one before `start`; an escaped brace is a character like any other."""
    depth, position = 1, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position
        position += 1
    return None


def final_answer(solution: str) -> str:
    r"""Find the answer in a worked solution: the last box, or what follows GSM8K's `####`; else it is all answer.

    >>> final_answer("He has 1,000 + 234.\n#### 1,234"), final_answer(r"so \boxed{x^2}"), final_answer(" 42 ")
    ('1234', 'x^2', '42')
    """
    boxed = last_boxed(solution)
    if boxed is not None:
        return boxed
    _, mark, after = solution.rpartition("####")
    return after.strip().replace(",", "") if mark else solution.strip()


def math_problem_of(row: Row, *, index: int = 0) -> Result[MathProblem, InvalidRequest]:
    """Read a problem from a row, by the names that datasets use.

    >>> math_problem_of({"question": "1 + 1?", "answer": "It is two. #### 2"}).unwrap()
    MathProblem(question='1 + 1?', answer='2')

    Fails: InvalidRequest with the row's index when it has no question or no answer.
    """
    question = next((text for name in _QUESTIONS if isinstance(text := row.get(name), str) and text.strip()), None)
    solution = next((text for name in _ANSWERS if isinstance(text := row.get(name), str | int | float)), None)
    answer = "" if solution is None else final_answer(str(solution))
    if question is None or not answer:
        fix = f"give it one of {', '.join(_QUESTIONS)} and one of {', '.join(_ANSWERS)}"
        return Failure(InvalidRequest(message=f"the row has columns {sorted(row)}", fix=fix, index=index))
    return Success(MathProblem(question=question, answer=answer))


def math_env(
    problem: MathProblem,
    renderer: Renderer,
    grade: Grade[R],
    *,
    prefix: Sequence[Message] = (),
    suffix: str = QUESTION_SUFFIX,
    format_coef: float = 0.1,
) -> ProblemEnv[R]:
    """Make the environment of a problem: the form is right when there is a box, and the last box is graded.

    Without a box there is no answer, and it scores 0 ungraded. A grader that fails is a failure, never a wrong answer.

    Args:
        problem: what is asked.
        renderer: of the policy's model family.
        grade: says whether an answer is the expected one.
        prefix: a conversation before the question, such as `BOXED_EXAMPLE`.
        suffix: asks for the form.
        format_coef: what a missing box costs.
    """
    return ProblemEnv(
        messages=(*prefix, Message(role="user", content=problem.question + suffix)),
        renderer=renderer,
        score=lambda text: _graded(text, problem.answer, grade),
        check_format=lambda text: last_boxed(text) is not None,
        format_coef=format_coef,
    )


@do
def _graded(text: str, expected: str, grade: Grade[R]) -> Do[EnvironmentFailed, R, float]:
    candidate = last_boxed(text)
    if candidate is None:
        return 0.0
    score = yield from grade(candidate, expected)
    return score
