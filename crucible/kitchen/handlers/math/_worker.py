"""The process that grades: lines of JSON in, lines of JSON out. It is run as a file, inside the sandbox.

math-verify works on what a model wrote with sympy, which may evaluate text, think for hours, or take all memory there is.
"""

import json
import logging
import sys
from typing import TextIO


def parse(text: str) -> "list[object]":
    """Read a text as one formula: in a box, so that all of it counts; an empty list when it cannot be read."""
    import math_verify

    found: list[object] = math_verify.parse(rf"\boxed{{{text}}}", parsing_timeout=None, fallback_mode="no_fallback")
    return found


def grade(expected: str, answer: str) -> "dict[str, object]":
    """Say whether an answer is the expected one, or why that cannot be said. What is expected comes first in math-verify."""
    import math_verify

    try:
        gold = parse(expected)
        if not gold:
            return {"unreadable": "the expected answer is no mathematics"}
        candidate = parse(answer)
        right = bool(candidate) and math_verify.verify(gold, candidate, timeout_seconds=None, raise_on_error=True)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is told, and is no grade
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"right": bool(right)}


def main(asked: TextIO, told: TextIO) -> None:
    """Answer each line, after one that says that the library is there."""
    import math_verify

    logging.disable()
    told.write(json.dumps({"ready": math_verify.__name__}) + "\n")
    told.flush()
    for line in asked:
        expected, answer = json.loads(line)
        told.write(json.dumps(grade(expected, answer)) + "\n")
        told.flush()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
