"""What a feedback loop tells."""

from typing import ClassVar

import attrs

from crucible.telemetry.events._names import PREFIX


@attrs.frozen(kw_only=True)
class TriggersChecked:
    """A deployment was looked at for reasons to train again."""

    NAME: ClassVar[str] = f"{PREFIX}.feedback.triggers_checked"
    deployment: str
    num_triggers: int
    kinds: str


@attrs.frozen(kw_only=True)
class FeedbackCurated:
    """Examples were chosen; `sources` counts them by where they come from."""

    NAME: ClassVar[str] = f"{PREFIX}.feedback.data_curated"
    deployment: str
    num_examples: int
    sources: dict[str, int]


@attrs.frozen(kw_only=True)
class FeedbackExported:
    """Examples were written as a dataset."""

    NAME: ClassVar[str] = f"{PREFIX}.feedback.data_exported"
    deployment: str
    path: str
    num_rows: int


@attrs.frozen(kw_only=True)
class BaselineUpdated:
    """Drift is measured from here on."""

    NAME: ClassVar[str] = f"{PREFIX}.feedback.baseline_updated"
    deployment: str
