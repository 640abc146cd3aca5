"""The SDK's client as we use it: every wait is bounded, nobody's token goes to a strange hub, no progress bars."""

import re
from typing import TYPE_CHECKING, Any

import crucible
from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._errors import asked_wait_seconds

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PATIENCE_SECONDS = 10.0
"""The longest wait that a server may ask of the SDK, which would sleep, and sleep again, however long it is."""

_TIMEOUT = re.compile(r"crucible-timeout/([0-9.]+)")


def api_of(config: HfConfig) -> "HfApi":
    """Give a client of the hub.

    The SDK has one HTTP client for all that use it, and leaves most of its waits without an end. Two hooks on that client set
    ends, for the requests alone that carry our mark.
    """
    from huggingface_hub import HfApi, constants, get_session
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # exported when it is run

    hooks = get_session().event_hooks
    if _bound_waits not in hooks["request"]:
        hooks["request"].append(_bound_waits)
        hooks["response"].append(_refuse_long_waits)
    if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
        disable_progress_bars()
    anonymous = config.token is None and config.endpoint is not None
    return HfApi(
        endpoint=None if config.endpoint is None else config.endpoint.rstrip("/"),
        token=False if anonymous else config.token,
        library_name="crucible",
        library_version=crucible.__version__,
        user_agent={"crucible-timeout": f"{config.timeout_seconds:.3f}"},
    )


def _bound_waits(request: Any) -> None:
    """Give a request of ours its timeout, where the SDK gave none or a longer one."""
    ours = _TIMEOUT.search(request.headers.get("user-agent", ""))
    if ours is not None:
        most, given = float(ours[1]), request.extensions.get("timeout", {})
        waits = {name: given.get(name) or most for name in ("connect", "read", "write", "pool")}
        request.extensions = {**request.extensions, "timeout": {name: min(most, wait) for name, wait in waits.items()}}


def _refuse_long_waits(response: Any) -> None:
    """Raise what a busy server says, where it asks for a longer wait than a caller should meet without knowing."""
    from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # exported when it is run

    is_busy = response.status_code in {429, 503} and (asked_wait_seconds(response.headers) or 0.0) > PATIENCE_SECONDS
    if is_busy and _TIMEOUT.search(response.request.headers.get("user-agent", "")):
        hf_raise_for_status(response)
