"""Blobs in S3, through the real s3fs over HTTP to moto's server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import attrs
import pytest
from moto.server import ThreadedMotoServer

from crucible.effects import Handlers, perform
from crucible.kitchen.handlers import blobs
from crucible.testing import check_blob_store
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    NotFound,
    TrainError,
    Unavailable,
    is_transient,
)
from crucible.train.ports import BlobStore

SECRET = "do-not-show-me"


@pytest.fixture(scope="module")
def config() -> Iterator[blobs.S3Config]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    config = blobs.S3Config(endpoint_url=f"http://{host}:{port}", region="eu-west-1", key="the-key", secret=SECRET)
    made = blobs.S3Place("bucket", config, prefix="")
    made.fs.mkdir("bucket")
    yield config
    server.stop()


def failed(handlers: Handlers[BlobStore], path: str = "a/b") -> list[TrainError]:
    operations = (
        perform(BlobStore.read, path),
        perform(BlobStore.read_range, path, offset=0, length=3),
        perform(BlobStore.write, path, b"x"),
        perform(BlobStore.exists, path),
        perform(BlobStore.list_blobs, path),
        perform(BlobStore.delete, path),
        perform(BlobStore.checksum, path),
        perform(BlobStore.upload, path, __file__),
        perform(BlobStore.download, path, "/tmp/never-made"),
    )
    return [handlers.run(operation).failure() for operation in operations]


@pytest.mark.parametrize("prefix", ["", "runs/1"])
def test_the_contract_is_kept(config: blobs.S3Config, prefix: str) -> None:
    check_blob_store(lambda: blobs.s3("bucket", config, prefix=prefix))


def test_a_prefix_shows_only_what_is_below_it(config: blobs.S3Config) -> None:
    blobs.s3("bucket", config).run(perform(BlobStore.write, "one/x", b"1")).unwrap()
    blobs.s3("bucket", config).run(perform(BlobStore.write, "one-more/x", b"1")).unwrap()
    found = blobs.s3("bucket", config, prefix="one").run(perform(BlobStore.list_blobs)).unwrap()
    assert [info.path for info in found] == ["x"]


@pytest.mark.slow
def test_a_large_file_goes_in_parts(config: blobs.S3Config, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4096 * 102)  # two parts of 50 MiB and a rest: s3fs then uploads part by part
    store = blobs.s3("bucket", config)
    assert store.run(perform(BlobStore.upload, "large", str(source))).unwrap().size_bytes == source.stat().st_size
    assert store.run(perform(BlobStore.download, "large", str(target))).unwrap().path == "large"
    assert target.read_bytes() == source.read_bytes()
    store.run(perform(BlobStore.delete, "large")).unwrap()


def test_a_bucket_that_is_not_there_is_named(config: blobs.S3Config) -> None:
    errors = failed(blobs.s3("no-such-bucket", config))
    assert {type(error) for error in errors} == {NotFound}
    assert all("no-such-bucket" in str(error) and "bucket" in str(error) for error in errors), errors


@contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[str]:
    """Serve one answer to every request."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # the names that the base class calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no, {SECRET}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "code", "kinds"),
    [
        (403, "AccessDenied", {AccessDenied}),
        (403, "SignatureDoesNotMatch", {AccessDenied}),
        (503, "SlowDown", {Unavailable}),
        (500, "InternalError", {Unavailable}),
        (400, "KeyTooLongError", {InvalidRequest, BackendFailed}),  # without a body (HEAD) it is a bad request
        (400, "Odd", {BackendFailed}),
    ],
)
def test_what_the_service_says_becomes_an_error_without_the_secret(
    config: blobs.S3Config, status: int, code: str, kinds: set[type]
) -> None:
    with answering(status, refusal(code)) as url:
        errors = failed(blobs.s3("bucket", attrs.evolve(config, endpoint_url=url)))
    assert {type(error) for error in errors} == kinds, errors
    assert SECRET not in repr(errors)
    assert all(is_transient(error) == (kinds == {Unavailable}) for error in errors)


def test_a_service_that_is_away_is_unavailable(config: blobs.S3Config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = attrs.evolve(config, endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert {type(error) for error in failed(blobs.s3("bucket", away))} == {Unavailable}


def test_a_service_that_says_nothing_is_unavailable_in_time(config: blobs.S3Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = blobs.s3("bucket", attrs.evolve(config, endpoint_url=url, seconds=0.2))
        assert isinstance(store.run(perform(BlobStore.read, "a")).failure(), Unavailable)


def test_without_credentials_access_is_denied(config: blobs.S3Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    errors = failed(blobs.s3("bucket", attrs.evolve(config, key=None, secret=None)))
    assert {type(error) for error in errors} == {AccessDenied}
    assert "S3Config" in str(errors[0])


def test_no_credential_is_shown() -> None:
    config = blobs.S3Config(key="the-key", secret=SECRET, token="the-token")
    shown = repr(config) + repr(blobs.s3("bucket", config))
    assert not any(secret in shown for secret in ("the-key", SECRET, "the-token"))


@pytest.mark.parametrize(("bucket", "prefix"), [("", ""), ("a/b", ""), ("bucket", "../x"), ("bucket", "x/")])
def test_a_bad_bucket_or_prefix_is_refused(bucket: str, prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        blobs.s3(bucket, prefix=prefix)


def test_an_endpoint_with_credentials_in_it_is_refused_without_showing_them() -> None:
    with pytest.raises(ValueError, match="key and secret") as raised:
        blobs.S3Config(endpoint_url=f"http://me:{SECRET}@127.0.0.1")
    assert SECRET not in str(raised.value)
