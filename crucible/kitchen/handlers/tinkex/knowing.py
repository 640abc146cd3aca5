"""What is known of servers: given, found out once in a process, and kept in the user's cache by server, version and model."""

import hashlib
import json
import os
import threading
import time
from concurrent.futures import Future as ThreadFuture
from contextlib import suppress
from pathlib import Path

import attrs

from crucible.effects import Failure, Result, Success, decode, encode
from crucible.kitchen.handlers.tinkex.backend import SESSION, TinkerBackend
from crucible.kitchen.handlers.tinkex.config import TinkerConfig
from crucible.kitchen.handlers.tinkex.probing import probed
from crucible.kitchen.handlers.tinkex.waiting import in_thread
from crucible.storage.files import replacing
from crucible.train.errors import TrainError
from crucible.train.types import Capabilities

KEPT_SECONDS = 7 * 24 * 3600.0
"""How long what was found out is taken for true, as not every server says when it changes."""


class Knowledge:
    """Knows what the server of a backend can do with each model; asks it at the first question."""

    def __init__(self, backend: TinkerBackend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._asked: dict[str, ThreadFuture[Capabilities]] = {}

    async def of(self, model: str) -> Result[Capabilities, TrainError]:
        """Give what the server can do; what cannot be found out is not known, which is no error."""
        config = self._backend.config
        given = declared(config)
        if given is not None:
            return Success(given)
        with self._lock:
            asked = self._asked.get(model)
            if asked is None:
                asked = self._asked[model] = in_thread(lambda: found_out(config, model))
        found = await self._backend.wait(asked, SESSION, seconds=config.probe_seconds + config.connect_seconds)
        if isinstance(found, Failure):
            with self._lock:
                self._asked.pop(model, None)
        return found


def declared(config: TinkerConfig) -> Capabilities | None:
    """Give what is not asked the server: what the configuration says, or what the API promises where nothing is asked."""
    if config.capabilities is not None:
        return config.capabilities
    return Capabilities(backend=named(config, ""), idempotent_submit=None) if config.probe == "never" else None


def expected(config: TinkerConfig, model: str) -> str:
    """Say what is known of a server before it is asked; nothing is sent.

    >>> expected(TinkerConfig(base_url="http://127.0.0.1:1", probe="never"), "any")
    'taken to do what the API promises'
    >>> expected(TinkerConfig(base_url="http://127.0.0.1:1"), "any")
    'what it can do is probed at the start'
    """
    if config.capabilities is not None:
        return f"declared: {config.capabilities}"
    if config.probe == "never":
        return "taken to do what the API promises"
    kept = None if config.probe == "always" else known(config, model)
    if kept is None:
        return "what it can do is probed at the start"
    return f"probed before: {kept[1]}; probed again if its version has changed"


def found_out(config: TinkerConfig, model: str) -> Capabilities:
    """Give what is known of this version of the server, or else probe it; blocks."""
    version, label = version_of(config)
    kept = None if config.probe == "always" else known(config, model)
    if kept is not None and kept[0] == version:
        return kept[1]
    found = probed(config, model, named(config, label))
    if (
        version
        and None not in (found.trains, found.negative_weights, found.prompt_logprobs, found.top_logprobs)
        and found.loss_reduction != "unknown"
    ):
        _keep(config, model, version, found)
    return found


def named(config: TinkerConfig, label: str) -> str:
    """Name a server in messages."""
    return f"the Tinker server at {config.url}{f' ({label})' if label else ''}"


def version_of(config: TinkerConfig) -> tuple[str, str]:
    """Give a fingerprint of what a server says of itself, and the version that it tells, if any; blocks."""
    import httpx

    headers = {"X-API-Key": config.key} if config.key else {}
    try:
        url = f"{config.url}/api/v1/get_server_capabilities"
        answer = httpx.get(url, headers=headers, timeout=config.connect_seconds)
        told = answer.json()
    except (httpx.HTTPError, ValueError):
        return "", ""
    label = told.get("version") if isinstance(told, dict) else None
    text = json.dumps([told, answer.headers.get("server", "")], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), label if isinstance(label, str) else ""


def known(config: TinkerConfig, model: str) -> tuple[str, Capabilities] | None:
    """Give what is kept of a server and a model, with the version that it is of; None when there is nothing, or it is old."""
    try:
        kept = json.loads(_file(config, model).read_text("utf-8"))
        found, version, is_old = decode(kept["found"]), kept["version"], time.time() - kept["time"] > KEPT_SECONDS
    except (OSError, ValueError, TypeError, KeyError):  # none, or of another version of this library
        return None
    if is_old or not isinstance(found, Capabilities):
        return None
    return version, attrs.evolve(found, known_by="cached", num_requests=0, seconds=0.0)


def _keep(config: TinkerConfig, model: str, version: str, found: Capabilities) -> None:
    path = _file(config, model)
    text = json.dumps({"version": version, "time": time.time(), "model": model, "found": encode(found)})
    with suppress(OSError):  # a cache that cannot be written costs a probe
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.glob("*.json"):
            if time.time() - other.stat().st_mtime > KEPT_SECONDS:
                other.unlink(missing_ok=True)
        with replacing(path) as new:
            new.write_text(text, "utf-8")


def _file(config: TinkerConfig, model: str) -> Path:
    key = hashlib.blake2b(f"{config.url}\n{model}".encode(), digest_size=16).hexdigest()
    return _cache() / "tinker" / f"{key}.json"


def _cache() -> Path:
    """Give the folder of what can be found out again: CRUCIBLE_CACHE, or `crucible` in the user's cache."""
    given = os.environ.get("CRUCIBLE_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crucible"
