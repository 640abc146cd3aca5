"""What both servers of these tests share: a thread that answers HTTP on this machine, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs


@attrs.define
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        data: dict[str, object] = json.loads(self.body)
        return data


@attrs.frozen
class Answer:
    """One answer. `cut_at` ends the connection after so many bytes of the body; `pieces` are sent one by one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)
    cut_at: int | None = None
    pieces: tuple[bytes, ...] = ()
    wait_seconds: float = 0.0


def of_json(data: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(data).encode(), {"Content-Type": "application/json", **headers})


class Site:
    """Something that answers. Faults that were queued for a method and a part of the path are answered first."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._faults: list[tuple[str, str, Answer]] = []
        self._lock = threading.RLock()

    def fail(self, method: str, part: str, answer: Answer, *, times: int = 1) -> None:
        self._faults += [(method, part, answer)] * times

    def requests(self, method: str, part: str = "") -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and part in asked.path]

    def reply(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            for fault in self._faults:
                if fault[0] == asked.method and fault[1] in asked.path:
                    self._faults.remove(fault)
                    return fault[2]
        return self.answer(asked)

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """Serve a site on this machine; give its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def any_method(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = site.reply(Asked(self.command, self.path, headers, self.rfile.read(length)))
            time.sleep(answer.wait_seconds)
            try:
                self.send(answer)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = any_method  # the names of the standard library

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            length = {} if answer.pieces else {"Content-Length": str(len(answer.body))}
            for name, value in {**length, **answer.headers}.items():
                self.send_header(name, value)
            if answer.pieces or answer.cut_at is not None:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut_at])
                for piece in answer.pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site.url
    finally:
        server.shutdown()
        server.server_close()
