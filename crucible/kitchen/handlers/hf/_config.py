"""Where the hub is and where models are served, and who asks there."""

from pathlib import Path

import attrs

from crucible.fields import AT_LEAST_1, checked


def _positive(instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0, not {value}")


@attrs.frozen(kw_only=True, field_transformer=checked)
class HfConfig:
    """Which hub, as whom, and where what was fetched is kept.

    Args:
        token: who asks. None takes the login of this machine (`HF_TOKEN`, or `hf auth login`) for the SDK's own hub, and nobody's
            for another `endpoint`. It is never shown.
        endpoint: the address of the hub; the SDK's own when None (`HF_ENDPOINT`, or https://huggingface.co).
        cache: the folder for what was fetched; the SDK's own when None (`HF_HOME`).
        timeout_seconds: how long one answer of the hub may take to begin or to go on, not all of a large file.
    """

    token: str | None = attrs.field(default=None, repr=False)
    endpoint: str | None = None
    cache: Path | str | None = None
    timeout_seconds: float = attrs.field(default=60.0, validator=_positive)


@attrs.frozen(kw_only=True, field_transformer=checked)
class InferenceConfig:
    """Which served model, and as whom it is asked.

    Args:
        model: its name where it is served. With None, a server at `url` that has one model uses that.
        url: an OpenAI-compatible server, such as `http://localhost:8000/v1`; Hugging Face's own providers when None.
        token: who asks. None takes the login of this machine for Hugging Face's own providers, and nobody's at a `url`. It is
            never shown.
        timeout_seconds: how long an answer may take to begin or to go on.
        limit: how many requests are made at once; the others wait.
    """

    model: str | None = None
    url: str | None = None
    token: str | None = attrs.field(default=None, repr=False)
    timeout_seconds: float = attrs.field(default=120.0, validator=_positive)
    limit: int = attrs.field(default=8, metadata=AT_LEAST_1)
