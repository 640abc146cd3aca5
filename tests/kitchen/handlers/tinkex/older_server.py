"""A pass-through in front of a server older than the SDK 0.38: it puts `sample_sequence_ids` into the answers to samples.

python tests/kitchen/handlers/tinkex/older_server.py PORT UPSTREAM_URL
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding", "accept-encoding"}


def with_sequence_ids(asked: bytes, answer: bytes) -> bytes:
    """Name each sample after its request."""
    found: dict[str, Any] = json.loads(answer)
    count = json.loads(asked).get("num_samples", 1)
    return json.dumps({**found, "sample_sequence_ids": [f"{found['request_id']}-{i}" for i in range(count)]}).encode()


def main(port: int, upstream: str) -> None:
    client = httpx.Client(base_url=upstream, timeout=None)  # futures are polled for long

    class PassThrough(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            answer = client.request(self.command, self.path, content=body, headers=headers)
            content = answer.content
            if self.path.endswith("/asample") and answer.status_code == 200:
                content = with_sequence_ids(body, content)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = pass_on

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
            """Say nothing."""

    ThreadingHTTPServer(("127.0.0.1", port), PassThrough).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
