"""What the SDK would tell of the key, and does not."""

import logging
import os

from crucible.kitchen.handlers.tinkex.config import TinkerConfig


class WithoutKey(logging.Filter):
    """Takes the key out of log records: at level DEBUG the SDK writes whole requests."""

    def __init__(self, config: TinkerConfig) -> None:
        super().__init__()
        self._config = config

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record that holds the key."""
        text = record.getMessage()
        safe = self._config.without_key(text)
        if safe != text:
            record.msg, record.args = safe, ()
        return True


def keep_secrets(config: TinkerConfig) -> None:
    """Keep the key out of the SDK's logs, and its telemetry off.

    The SDK's telemetry sends stack traces and the headers of failed requests, the key among them. It is off, unless the
    environment's TINKER_TELEMETRY says otherwise.
    """
    os.environ.setdefault("TINKER_TELEMETRY", "0")
    for name in ("tinker._base_client", "tinker.lib.telemetry", "tinker.lib.api_future_impl"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, WithoutKey) and one._config.key == config.key for one in logger.filters):  # its own
            logger.addFilter(WithoutKey(config))
