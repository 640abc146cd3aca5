"""Blobs in an S3 bucket, through `s3fs`."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from crucible.fields import ABOVE_0, checked
from crucible.kitchen.handlers.blobs._errors import of_s3
from crucible.kitchen.handlers.blobs._places import Place
from crucible.kitchen.handlers.files import RefusedError
from crucible.train.errors import NotFound, TrainError
from crucible.train.types import BlobInfo, is_blob_path

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PIECES_AT_ONCE = 4
"""Of up to 50 MB each, as s3fs cuts them: what an upload takes of memory."""


def _without_credentials(config: "S3Config", field: "attrs.Attribute[str | None]", url: str | None) -> None:
    if url is not None and urlsplit(url).username is not None:
        raise ValueError("the endpoint has credentials in it: give them as key and secret")


@attrs.frozen(kw_only=True, field_transformer=checked)
class S3Config:
    """Where an S3 service is, and how to be let in.

    Args:
        endpoint_url: of a service other than Amazon's.
        region: of the bucket, where the service asks for it.
        key: the access key; without one, the AWS tools' environment, files and roles are looked at.
        secret: belongs to `key`.
        token: belongs to temporary credentials.
        anonymous: send no credentials at all.
        seconds: the most to wait for a connection, and for each part of an answer.
    """

    endpoint_url: str | None = attrs.field(default=None, validator=_without_credentials)
    region: str | None = None
    key: str | None = attrs.field(default=None, repr=False)
    secret: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)
    anonymous: bool = False
    seconds: float = attrs.field(default=60.0, metadata=ABOVE_0)


class S3Place(Place):
    """A bucket, or what is below a prefix in it. The service makes each write whole."""

    extra = "s3"
    package = "s3fs"
    abandoned_when_cancelled = True

    def __init__(self, bucket: str, config: S3Config, *, prefix: str) -> None:
        if not bucket or "/" in bucket:
            raise ValueError(f"{bucket!r} is no name of a bucket; a folder in it is the prefix")
        if prefix and not is_blob_path(prefix):
            raise ValueError(f"{prefix!r} is no prefix: use a relative path such as runs/1")
        self._bucket = bucket
        self._config = config
        self._root = f"{bucket}/{prefix}" if prefix else bucket

    @cached_property
    def fs(self) -> "AbstractFileSystem":
        """Make it; nothing is asked of the service yet."""
        import s3fs

        config = self._config
        made = s3fs.S3FileSystem(
            anon=config.anonymous,
            key=config.key,
            secret=config.secret,
            token=config.token,
            endpoint_url=config.endpoint_url,
            client_kwargs={} if config.region is None else {"region_name": config.region},
            config_kwargs={
                "connect_timeout": config.seconds,
                "read_timeout": config.seconds,
                "retries": {"total_max_attempts": 1},
            },
            max_concurrency=_PIECES_AT_ONCE,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        made.retries = 1
        return made

    def locate(self, path: str) -> str:
        """Give bucket and key."""
        return f"{self._root}/{path}"

    def error_of(self, error: Exception, path: str) -> TrainError | None:
        """Read it as an error of the service; whatever an SDK raises is one."""
        config = self._config
        secrets = tuple(filter(None, (config.key, config.secret, config.token)))
        if isinstance(error, FileNotFoundError):
            return self._missing_bucket(secrets) or of_s3(error, path, secrets=secrets)
        theirs = type(error).__module__.partition(".")[0] in {"botocore", "aiobotocore", "aiohttp", "s3fs"}
        return of_s3(error, path, secrets=secrets) if theirs or isinstance(error, OSError | ValueError) else None

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Give some bytes; the service calls a range behind the end an error."""
        try:
            return super().read_range(path, offset, length)
        except FileNotFoundError:
            raise
        except OSError:
            if self.size(path) > offset:
                raise
            return b""

    def exists(self, path: str) -> bool:
        """Ask for it; in a bucket that is not there, nothing can be said to be missing."""
        try:
            return bool(self.fs.info(self.locate(path))["type"] == "file")
        except FileNotFoundError:
            self._require_bucket()
            return False

    def remove(self, path: str) -> None:
        """Delete an object; the service does not say whether it was there."""
        self.fs.call_s3("delete_object", Bucket=self._bucket, Key=self.locate(path).partition("/")[2])

    def find(self, prefix: str) -> Iterator[BlobInfo]:
        """List the keys."""
        folder, _, start = prefix.rpartition("/")
        found = self.fs.find(self.locate(folder) if folder else self._root, prefix=start, detail=True)
        if not found:
            self._require_bucket()
        for name, info in found.items():
            path = name.removeprefix(f"{self._root}/")
            if path.startswith(prefix) and is_blob_path(path):
                yield BlobInfo(path=path, size_bytes=int(info["size"]))

    def _require_bucket(self) -> None:
        """Raise: RefusedError when there is no such bucket, and whatever stands in the way of asking."""
        try:
            self.fs.call_s3("head_bucket", Bucket=self._bucket)
        except FileNotFoundError:
            fix = "make the bucket, or correct its name or the endpoint"
            raise RefusedError(NotFound(kind="bucket", name=self._bucket, fix=fix)) from None

    def _missing_bucket(self, secrets: tuple[str, ...]) -> TrainError | None:
        try:
            self._require_bucket()
        except RefusedError as refused:
            return refused.error
        except Exception as error:  # noqa: BLE001  # all of it is the SDK's, and becomes a value
            return of_s3(error, self._bucket, secrets=secrets)
        return None
