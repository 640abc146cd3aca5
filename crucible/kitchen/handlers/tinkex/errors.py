"""What the SDK raises, all of it, as the ports' errors."""

import re
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    SessionClosed,
    TrainError,
    Unavailable,
    Unsupported,
)

if TYPE_CHECKING:
    from tinker import APIStatusError, RequestFailedError

T = TypeVar("T")

Kind: TypeAlias = Literal["model", "checkpoint", "weights", "session"]

KEY_FIX = "set TINKER_API_KEY, or give TinkerConfig(api_key=...)"
_FAILED = re.compile(r"^Request failed: (?P<message>.*) for self\.request_id=.*$", re.DOTALL)
_UNREADABLE = ("Error retrieving result", "Proto deserialization failed", "Server returned a JSON payload")
_ABSENT = re.compile(r"not found|does not exist|no such|unknown (model|checkpoint|path)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class About:
    """What a request was about: it is what is not there, when something is not there."""

    kind: Kind
    name: str

    @property
    def not_found(self) -> NotFound:
        """The error that it is not there."""
        return NotFound(kind=self.kind, name=self.name)


def guarded(work: Callable[[], T], about: About) -> Result[T, TrainError]:
    """Call the SDK; what it raises becomes an error value."""
    try:
        return Success(work())
    except Exception as error:  # noqa: BLE001  # the SDK lets exceptions of every kind out
        return Failure(error_of(error, about))


def error_of(error: BaseException, about: About) -> TrainError:
    """Give the port's error for what the SDK raised.

    >>> error_of(KeyError("rank"), About(kind="model", name="m"))
    BackendFailed(message="the Tinker SDK failed: KeyError: 'rank'")
    """
    import tinker
    from tinker.lib.retryable_exception import RetryableException

    found: TrainError
    match error:
        case tinker.RequestFailedError():
            found = _of_failed_request(error, about)
        case tinker.APIStatusError():
            found = _of_status(error, about)
        case tinker.APIConnectionError() | TimeoutError():
            found = Unavailable(message=f"the Tinker server cannot be reached: {_text(error)}")
        case tinker.APIResponseValidationError():
            found = BackendFailed(message=f"the server's answer cannot be read: {_text(error)}")
        case tinker.TinkerError():
            found = AccessDenied(message=_text(error), fix=KEY_FIX)
        case RetryableException():
            found = BackendFailed(
                message=f"the server lost the request, whether it was done is not known: {_text(error)}"
            )
        case CancelledError():
            found = BackendFailed(message="the request was cancelled: the connection to the server was closed")
        case _:
            found = _of_python(error, about)
    return found


def _of_failed_request(error: "RequestFailedError", about: About) -> TrainError:
    from tinker.types import RequestErrorCategory

    matched = _FAILED.match(error.message)
    message = matched["message"] if matched else error.message
    if error.category is RequestErrorCategory.User:
        return (
            about.not_found if _ABSENT.search(message) and about.kind != "session" else InvalidRequest(message=message)
        )
    return BackendFailed(message=f"the server failed: {message}")


def _of_status(error: "APIStatusError", about: About) -> TrainError:
    status, message = error.status_code, _text(error)
    found: TrainError
    match status:
        case 401:
            found = AccessDenied(message=message, fix=KEY_FIX)
        case 402:
            found = unpaid(message)
        case 403:
            found = AccessDenied(message=message, fix="use a key that may do this")
        case 404 if about.kind == "session":
            found = BackendFailed(message=message)
        case 404:
            found = about.not_found
        case 405 | 501:
            found = Unsupported(feature=f"this request ({message})", backend="this Tinker server")
        case 410:
            found = SessionClosed(session_id=about.name)
        case 408 | 429:
            found = Unavailable(message=message, retry_after_seconds=_retry_after(error))
        case _ if status >= 500:
            found = Unavailable(message=message, retry_after_seconds=_retry_after(error))
        case _:
            found = InvalidRequest(message=message)
    return found


def unpaid(message: str) -> AccessDenied:
    """Give the error that the server wants to be paid."""
    return AccessDenied(message=message, fix="look at the billing of the account: the server waits for it")


def _of_python(error: BaseException, about: About) -> TrainError:
    """Exceptions that are not the SDK's own, and leave it all the same."""
    from tinker import APIStatusError

    text = _text(error)
    found: TrainError = BackendFailed(message=f"the Tinker SDK failed: {type(error).__name__}: {text}")
    match error:
        case ImportError():
            found = MissingExtra(extra="tinkex", package=error.name or text)
        case AssertionError() if "sample_sequence_ids" in text:
            fix = "it predates the SDK, which needs sample_sequence_ids in its answers"
            found = Unsupported(feature="sampling for this SDK", backend="this Tinker server", fix=fix)
        case ValueError() if isinstance(error.__cause__, APIStatusError) and error.__cause__.status_code == 404:
            found = BackendFailed(message=f"the server lost the request: {text}")
        case ValueError() if isinstance(error.__cause__, APIStatusError):
            found = _of_status(error.__cause__, about)
        case ValueError() if text.startswith(_UNREADABLE):
            found = BackendFailed(message=f"the server's answer cannot be read: {text}")
        case ValueError():
            found = InvalidRequest(message=text)
        case RuntimeError() if "poisoned" in text:
            found = BackendFailed(message=f"{text} Start a session anew, from the last checkpoint.")
        case RuntimeError() if "closed" in text:
            found = SessionClosed(session_id=about.name)
        case _:
            pass
    return found


def _retry_after(error: "APIStatusError") -> float | None:
    try:
        return float(error.response.headers["retry-after"])
    except (KeyError, ValueError):  # none, or a date
        return None


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
