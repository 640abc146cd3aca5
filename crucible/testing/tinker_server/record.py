"""What a server was asked, in the order it was asked."""

import threading
from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class Asked:
    """One request as the server took it in.

    `route` is the last word of the endpoint (`forward` and `forward_backward` are told apart). `detail` is the body: JSON as
    it came, of a training batch the numbers `num_data` and `num_tokens` in the place of the data. `status` is what it was
    answered with, None while it waits, and 0 for a connection that was dropped. Credentials are not kept.
    """

    number: int
    route: str
    method: str
    path: str
    detail: Mapping[str, object] = attrs.field(factory=dict)
    fault: str | None = None
    status: int | None = None

    @property
    def seq_id(self) -> int | None:
        """The place that the client gave the request among those of its model or sampler."""
        found = self.detail.get("seq_id")
        return found if isinstance(found, int) else None


class Record:
    """The requests of a server. It may be read from any thread."""

    def __init__(self) -> None:
        self._asked: list[Asked] = []
        self._lock = threading.Lock()

    def add(self, *, route: str, method: str, path: str, detail: Mapping[str, object]) -> int:
        """Write down a request; give its number."""
        with self._lock:
            number = len(self._asked)
            self._asked.append(Asked(number=number, route=route, method=method, path=path, detail=detail))
            return number

    def change(self, number: int, *, fault: str | None = None, status: int | None = None) -> None:
        """Write down what became of a request."""
        with self._lock:
            old = self._asked[number]
            self._asked[number] = attrs.evolve(
                old,
                fault=old.fault if fault is None else fault,
                status=old.status if status is None else status,
            )

    def all(self) -> tuple[Asked, ...]:
        """Give all requests so far."""
        with self._lock:
            return tuple(self._asked)
