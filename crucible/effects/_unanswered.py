"""A call that a layer has no answer for, as the error that its port has for it."""

from typing import Never

from returns.result import Failure, Result

from crucible.effects._handlers import Call


class Unanswered(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call to which a layer has no answer: it took too long, or is not made now.

    A port that says how (`class Clock(Port, unanswered=...)`) answers it as a failure of its own error type. For any
    other port it is raised; `expecting(eff, Unanswered)` makes a typed failure of it.
    """

    def __init__(self, call: Call, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(call, message)
        self.call = call
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"{self.call} {self.message}"


def unanswered(call: Call, message: str, *, retry_after_seconds: float | None = None) -> Result[Never, object]:
    """Answer a call that has no answer.

    Raises: Unanswered where the port has no error for it.
    """
    why = Unanswered(call, message, retry_after_seconds=retry_after_seconds)
    error_of = call.port.error_when_unanswered
    if error_of is None:
        raise why
    return Failure(error_of(why))
