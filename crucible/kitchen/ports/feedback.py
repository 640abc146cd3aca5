"""`FeedbackClient`: the port to what a deployed model is told by its users, from which it can be trained again."""

from abc import abstractmethod
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Port, Result
from crucible.kitchen.errors import KitchenError

TriggerKind: TypeAlias = Literal["drift_threshold", "quality_drop", "data_count", "scheduled"]
CurationSource: TypeAlias = Literal["user_edit", "high_quality", "hard_example", "diverse"]
ExportFormat: TypeAlias = Literal["jsonl", "parquet"]

CURATION_SOURCES: tuple[CurationSource, ...] = ("user_edit", "high_quality", "hard_example", "diverse")
"""All sources, the most valuable first."""


@attrs.frozen(kw_only=True)
class TriggerThresholds:
    """When to train again: at which drift (0 to 1), below which quality (0 to 1), from how many new examples on."""

    drift: float = attrs.field(default=0.2, validator=attrs.validators.ge(0))
    quality: float = 0.7
    num_examples: int = attrs.field(default=1000, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class Trigger:
    """A reason to train again: what was measured, and the threshold that it passed."""

    kind: TriggerKind
    value: float
    threshold: float


@attrs.frozen(kw_only=True)
class CurationOptions:
    """Which examples to choose: at most `limit`, from these sources, with at least this score."""

    limit: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    sources: tuple[CurationSource, ...] = CURATION_SOURCES
    min_score: float = 0.0


@attrs.frozen(kw_only=True)
class CuratedExample:
    """An exchange with a user that is worth training on; `response` is the edited one where the user edited it."""

    event_id: str
    deployment_id: str
    source: CurationSource
    score: float
    prompt: str
    response: str


@attrs.frozen(kw_only=True)
class ExportOptions:
    """What to write and where: at most `limit` rows, those exported before only if asked for."""

    path: str = attrs.field(validator=attrs.validators.min_len(1))
    format: ExportFormat = "jsonl"
    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    include_exported: bool = False


@attrs.frozen(kw_only=True)
class FeedbackExport:
    """What was written: `path` names a dataset that `DatasetStore.load_dataset` can read."""

    path: str
    format: ExportFormat
    num_rows: int


@attrs.frozen(kw_only=True)
class DriftStatus:
    """How far prompts and responses have moved since the baseline, from 0 (not at all) to 1."""

    input_drift: float
    output_drift: float


@attrs.frozen(kw_only=True)
class QualityMetrics:
    """The mean score of the exchanges, from 0 to 1, and of how many; None of none."""

    average: float | None
    count: int


class FeedbackClient(Port):
    """Reads the feedback of one deployment at a time. A deployment that is not known is NotFound."""

    @abstractmethod
    async def check_triggers(
        self, deployment_id: str, thresholds: TriggerThresholds = TriggerThresholds()
    ) -> Result[tuple[Trigger, ...], KitchenError]:
        """Give the reasons to train again; none is a reason not to."""

    @abstractmethod
    async def curate(
        self, deployment_id: str, options: CurationOptions = CurationOptions()
    ) -> Result[tuple[CuratedExample, ...], KitchenError]:
        """Choose examples, the most valuable source and then the highest score first."""

    @abstractmethod
    async def export(self, deployment_id: str, options: ExportOptions) -> Result[FeedbackExport, KitchenError]:
        """Write the exchanges worth training on as conversations (`messages`). Nothing to write is NotFound, and no file is made."""

    @abstractmethod
    async def export_preference_pairs(
        self, deployment_id: str, options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        """Write edited exchanges as `prompt`, `chosen` (the edit) and `rejected`; nothing to write is NotFound."""

    @abstractmethod
    async def update_baseline(self, deployment_id: str) -> Result[None, KitchenError]:
        """Measure drift from here on."""

    @abstractmethod
    async def get_drift_status(self, deployment_id: str) -> Result[DriftStatus, KitchenError]:
        """Say how far things have moved since the baseline."""

    @abstractmethod
    async def get_quality_metrics(self, deployment_id: str) -> Result[QualityMetrics, KitchenError]:
        """Say how well the deployment does."""
