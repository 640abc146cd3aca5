"""What the SDKs raise, as the ports' errors."""

import importlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from crucible.effects import Failure, Result, Success
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    StorageFailed,
    TrainError,
    Unavailable,
)

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

A = TypeVar("A")

LONGEST_MESSAGE = 500
"""Characters of a server's message that are kept."""


class Refused(Exception):  # noqa: N818  # carries an error value out of work in a thread
    """An expected failure on its way out of a thread."""

    def __init__(self, error: TrainError) -> None:
        super().__init__(str(error))
        self.error = error


async def attempted(
    work: Callable[[], A], *, about: str, token: str | None, limiter: anyio.CapacityLimiter | None = None
) -> Result[A, TrainError]:
    """Do blocking work of an SDK in a thread; what it raises becomes an error about `about`, without the token."""
    guarded = partial(outcome, work, about=about, token=token)
    return await anyio.to_thread.run_sync(guarded, abandon_on_cancel=True, limiter=limiter)


def outcome(work: Callable[[], A], *, about: str, token: str | None) -> Result[A, TrainError]:
    """Do work; give what it gives, or the error value of what it raises."""
    missing = missing_extra("huggingface_hub")
    if missing is not None:
        return Failure(missing)
    from huggingface_hub.errors import RevisionResolutionError

    try:
        return Success(work())
    except Refused as refused:
        return Failure(refused.error)
    except (OSError, ValueError, RevisionResolutionError, http_error()) as error:
        return Failure(error_of(error, about, token))
    except RuntimeError as error:  # what failed in a thread, or in the native part, of the SDK
        return Failure(error_of(error.__cause__ or error, about, token))
    except Exception as error:  # noqa: BLE001  # whatever an SDK stumbles over in an answer that it does not know
        why = f"{type(error).__name__}: {_shown(error, token)}"
        return Failure(BackendFailed(message=f"{about}: the answer cannot be read ({why}); is another service there?"))


def http_error() -> type[Exception]:
    """Give the class of all that the SDK's HTTP client raises, whichever client it is."""
    from huggingface_hub.errors import HfHubHTTPError

    found = HfHubHTTPError.__mro__[1]
    assert issubclass(found, Exception)
    return found


def missing_extra(package: str) -> MissingExtra | None:
    """Say that a package of the extra is not installed."""
    try:
        importlib.import_module(package)
    except ImportError:
        return MissingExtra(extra="hf", package=package)
    return None


def error_of(error: BaseException, about: str, token: str | None) -> TrainError:
    """Give the port's error for what an SDK raised while it worked on `about`: a repository, a file, a server."""
    from huggingface_hub import errors

    text = _shown(error, token)
    found: TrainError
    match error:
        case errors.LocalEntryNotFoundError() | errors.RevisionResolutionError():
            cause = error.__cause__
            found = error_of(cause, about, token) if cause is not None else Unavailable(message=f"{about}: {text}")
        case errors.GatedRepoError():
            fix = "ask for access on its page, and give a token that has it"
            found = AccessDenied(message=f"{about} is gated: {text}", fix=fix)
        case errors.HfHubHTTPError():
            found = _refusal(error, about, text)
        case errors.HFValidationError():
            found = InvalidRequest(message=f"{about}: {text}")
        case errors.ValidationError():
            found = InvalidRequest(message=f"{about}: {text}")
        case errors.OverloadedError() | errors.InferenceTimeoutError() | errors.OfflineModeIsEnabled():
            found = Unavailable(message=f"{about}: {text}")
        case errors.TextGenerationError() | errors.FileMetadataError():
            found = BackendFailed(message=f"{about}: {text}")
        case _:
            found = _of_no_answer(error, about, text)
    return found


def _of_no_answer(error: BaseException, about: str, text: str) -> TrainError:
    """Give the error for what was raised without an answer of a server: the line, the disk, the file."""
    cut_short = isinstance(error, OSError) and "Consistency check failed" in text
    if cut_short or isinstance(error, (http_error(), ConnectionError, TimeoutError)):
        return Unavailable(message=f"{about} could not be reached: {text or type(error).__name__}")
    if type(error).__name__ == "XetAuthenticationError":  # of the SDK's native part, which may not be there
        return AccessDenied(message=f"{about}: {text}")
    if isinstance(error, FileNotFoundError):
        return NotFound(kind="file", name=about, fix=text)
    if isinstance(error, OSError):
        return StorageFailed(path=str(error.filename or about), message=text)
    return BackendFailed(message=f"{about}: {text}")


def _refusal(error: "HfHubHTTPError", about: str, text: str) -> TrainError:
    """Give the error for an answer that is none: by what the hub names it, else by its status."""
    from huggingface_hub import errors

    status = error.response.status_code
    if status in {401, 403}:
        fix = "give a token with the right to it; without one, a private repository cannot be told from one that is not there"
        return AccessDenied(message=f"{about}: {text}", fix=fix)
    kinds: Mapping[type, str] = {
        errors.RevisionNotFoundError: "revision",
        errors.EntryNotFoundError: "file",
        errors.RepositoryNotFoundError: "repository",
    }
    if status == 404:
        kind = next((kind for cls, kind in kinds.items() if isinstance(error, cls)), "address")
        return NotFound(kind=kind, name=about, fix=text)
    if status in {408, 429} or status >= 500:
        return Unavailable(message=f"{about}: {text}", retry_after_seconds=asked_wait_seconds(error.response.headers))
    return InvalidRequest(message=f"{about}: {text}")


def asked_wait_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long a server asks to wait: `Retry-After`, else the end of the window that `RateLimit` tells.

    >>> asked_wait_seconds({"retry-after": "30"}), asked_wait_seconds({"ratelimit": '"api";r=0;t=12'})
    (30.0, 12.0)
    >>> asked_wait_seconds({})
    """
    named = re.fullmatch(r"\s*(\d+)\s*", headers.get("retry-after", ""))
    window = re.search(r"\bt=(\d+)", headers.get("ratelimit", "")) if "r=0" in headers.get("ratelimit", "") else None
    told = named or window
    return None if told is None else float(told[1])


def _shown(error: BaseException, token: str | None) -> str:
    """Give the message in one line, not too long, with no token in it."""
    from huggingface_hub import get_token

    text = " ".join(str(error).split())
    for secret in (token, get_token()):
        text = text.replace(secret, "***") if secret else text
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."
