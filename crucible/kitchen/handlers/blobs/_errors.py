"""What file systems and their SDKs raise, as the port's errors."""

import errno

from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    NotFound,
    StorageFailed,
    TrainError,
    Unavailable,
)

BUSY = frozenset({errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT})
"""What s3fs makes of `SlowDown`, `ServiceUnavailable` and `InternalError`."""

LONGEST_MESSAGE = 300
"""Characters of an SDK's message that are kept."""


def no_blob_path(path: str) -> InvalidRequest:
    """Say that a path is none of this store."""
    return InvalidRequest(message=f"{path!r} is no blob path", fix="use a relative path such as runs/1/report.json")


def of_folder(error: OSError | ValueError, path: str) -> TrainError:
    """Give the error for what a local file system raised."""
    match error:
        case FileNotFoundError() | IsADirectoryError():
            return NotFound(kind="blob", name=path)
        case NotADirectoryError() | FileExistsError():
            return InvalidRequest(message=f"{path!r} and another blob cannot both be there", fix="use another path")
        case OSError(errno=errno.ENAMETOOLONG) | ValueError():
            return InvalidRequest(message=f"{path!r} is no path that can be kept", fix="use a shorter, plainer path")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            fix = "free some space; nothing of this blob was stored"
        case _:
            fix = "look at the folder and its rights"
    return StorageFailed(path=path, message=error.strerror or str(error), fix=fix)


def of_s3(error: Exception, path: str, *, secrets: tuple[str, ...]) -> TrainError:
    """Give the error for what s3fs, botocore or aiohttp raised, with none of `secrets` in it."""
    text = _shown(error, secrets)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    match error:
        case FileNotFoundError() | IsADirectoryError():
            found: TrainError = NotFound(kind="blob", name=path)
        case PermissionError():
            found = AccessDenied(message=f"{path}: {text}", fix="give credentials that may do this in S3Config")
        case TimeoutError() | ConnectionError():
            found = Unavailable(message=f"{path}: {text}")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            found = StorageFailed(path=path, message=text, fix="free some space")
        case OSError(errno=number) if number in BUSY:
            found = Unavailable(message=f"{path}: {text}")
        case OSError(errno=errno.ENAMETOOLONG | errno.EMSGSIZE) | ValueError():
            found = InvalidRequest(message=f"{path}: {text}")
        case _ if kinds & {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"}:
            found = AccessDenied(message=text, fix="give key and secret in S3Config, or configure the AWS tools")
        case _ if kinds & {
            "ConnectionError",
            "HTTPClientError",
            "ClientConnectionError",
            "ClientPayloadError",
            "IncompleteReadError",
        }:
            found = Unavailable(message=f"{path}: {text}")
        case _:
            found = BackendFailed(message=f"{path}: {text}")
    return found


def _shown(error: Exception, secrets: tuple[str, ...]) -> str:
    """Give the message in one line, not too long, with no secret in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."
