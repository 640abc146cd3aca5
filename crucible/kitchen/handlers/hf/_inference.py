"""What asking served models has in common: the client, the limit, the name of the place."""

from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import RunVar

from crucible.kitchen.handlers.hf._config import InferenceConfig

if TYPE_CHECKING:
    from huggingface_hub import InferenceClient

_NOBODY = "none"


class AtOnce:
    """A limit on what is done at once, in each event loop that a handler is used in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar("limiter")

    @property
    def limiter(self) -> anyio.CapacityLimiter:
        """Give the limiter of the running event loop."""
        try:
            return self._limiter.get()
        except LookupError:
            self._limiter.set(anyio.CapacityLimiter(self._limit))
            return self._limiter.get()


def client_of(config: InferenceConfig) -> "InferenceClient":
    """Give a client. At a URL it sends no login of this machine: the SDK would, so it is given a token that is none."""
    from huggingface_hub import InferenceClient

    token = _NOBODY if config.token is None and config.url is not None else config.token
    return InferenceClient(base_url=config.url, token=token, timeout=config.timeout_seconds)


def served_at(config: InferenceConfig, model: str | None) -> str:
    """Say which model is asked where.

    >>> served_at(InferenceConfig(url="http://localhost:8000/v1"), "small")
    'small at http://localhost:8000/v1'
    """
    return " at ".join(part for part in (model, config.url) if part)
