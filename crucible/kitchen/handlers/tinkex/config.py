"""`TinkerConfig`: which server, with which key, and how long to wait for it."""

import os
from typing import Literal

import attrs

from crucible.fields import ABOVE_0, AT_LEAST_1, Limits, checked, within
from crucible.train.types import Capabilities, Tokenizer

HOSTED = "https://tinker.thinkingmachines.dev/services/tinker-prod"
"""Where the SDK goes when nothing says otherwise."""


@attrs.frozen(kw_only=True, field_transformer=checked)
class TinkerConfig:
    """How to reach a Tinker server.

    >>> TinkerConfig(base_url="http://127.0.0.1:8000", api_key="tml-secret")
    TinkerConfig(base_url='http://127.0.0.1:8000', connect_seconds=30.0, request_seconds=1800.0, ...)

    Args:
        base_url: the server; None for the environment's TINKER_BASE_URL, else the hosted service.
        api_key: it begins with `tml-`; None for the environment's TINKER_API_KEY, else what `tinker auth login` stored. It is
            in no text that this handler gives.
        connect_seconds: after how long an unreachable server, or one that wants to be paid, is an error; also the most that
            a question about checkpoints may take.
        request_seconds: the most that a request to train, sample or save may take; it goes on at the server, and may be
            awaited again.
        connect_attempts: how often a connection is tried, with a pause that doubles from a quarter of a second.
        ttl_seconds: how long saved weights are kept, from 3600 to ten years; None is for ever.
        sampler_weights: `saved` by their names, or `live`: for samplers of this process alone, stored nowhere.
        max_length: tokens that a model takes, where the server does not say.
        tokenizer: None for the one that the server names, loaded by transformers.
        probe: when a training says what it needs, whether the server is asked what it can do: `cached` once for each version
            of it, `always` once for each process, or `never`: then it is taken to do what the Tinker API promises.
        probe_seconds: the most that a probe may take; what is not found out by then is not known.
        capabilities: what the server can do, where you know better; it is not asked.
    """

    base_url: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    connect_seconds: float = attrs.field(default=30.0, metadata=ABOVE_0)
    request_seconds: float = attrs.field(default=1800.0, metadata=ABOVE_0)
    connect_attempts: int = attrs.field(default=4, metadata=AT_LEAST_1)
    ttl_seconds: int | None = attrs.field(default=None, metadata=within(Limits(at_least=3600)))
    sampler_weights: Literal["saved", "live"] = "saved"
    max_length: int = attrs.field(default=32_768, metadata=AT_LEAST_1)
    tokenizer: Tokenizer | None = None
    probe: Literal["cached", "always", "never"] = "cached"
    probe_seconds: float = attrs.field(default=120.0, metadata=ABOVE_0)
    capabilities: Capabilities | None = None

    @property
    def url(self) -> str:
        """The server's address, without a slash behind it."""
        return (self.base_url or os.environ.get("TINKER_BASE_URL") or HOSTED).rstrip("/")

    @property
    def key(self) -> str | None:
        """The key, where it is given here or in the environment."""
        return self.api_key or os.environ.get("TINKER_API_KEY")

    def without_key(self, text: str) -> str:
        """Give a text that does not hold the key.

        >>> TinkerConfig(api_key="tml-secret").without_key("invalid key tml-secret")
        'invalid key <api key>'
        """
        return text.replace(self.key, "<api key>") if self.key else text
