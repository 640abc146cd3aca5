"""`FeedbackClient`: the port to what a deployed model is told by its users, from which it can be trained again."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Port, Result
from crucible.fields import AT_LEAST_0, AT_LEAST_1, FRACTION, NOT_EMPTY, SOME_UNIQUE, checked
from crucible.kitchen.errors import KitchenError
from crucible.train.errors import Unavailable

TriggerKind: TypeAlias = Literal["drift_threshold", "quality_drop", "data_count", "scheduled"]
CurationSource: TypeAlias = Literal["user_edit", "high_quality", "hard_example", "diverse"]
ExportFormat: TypeAlias = Literal["jsonl", "parquet"]

CURATION_SOURCES: tuple[CurationSource, ...] = ("user_edit", "high_quality", "hard_example", "diverse")
"""All sources, the most valuable first."""


@attrs.frozen(kw_only=True)
class Exchange:
    """One exchange with a user: what was asked and answered, what the user made of the answer, how good it was (0 to 1).

    >>> edited = Exchange(id="1", prompt="2 + 2?", response="5", edited_response="4")
    >>> edited.source, edited.best_response
    ('user_edit', '4')
    """

    id: str
    prompt: str
    response: str
    edited_response: str | None = None
    score: float = attrs.field(default=0.5, validator=[attrs.validators.ge(0), attrs.validators.le(1)])

    @property
    def source(self) -> CurationSource:
        """Why it may be worth training on."""
        if self.edited_response is not None:
            return "user_edit"
        return "high_quality" if self.score >= 0.8 else "hard_example" if self.score <= 0.3 else "diverse"

    @property
    def best_response(self) -> str:
        """The response as the user wants it."""
        return self.response if self.edited_response is None else self.edited_response


@attrs.frozen(kw_only=True, field_transformer=checked)
class TriggerThresholds:
    """When to train again: at which drift (0 to 1), below which quality (0 to 1), from how many new examples on."""

    drift: float = attrs.field(default=0.2, metadata=AT_LEAST_0)
    quality: float = attrs.field(default=0.7, metadata=AT_LEAST_0)
    num_examples: int = attrs.field(default=1000, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class Trigger:
    """A reason to train again: what was measured, and the threshold that it passed."""

    kind: TriggerKind
    value: float
    threshold: float


@attrs.frozen(kw_only=True, field_transformer=checked)
class CurationOptions:
    """Which examples to choose: at most `limit`, from these sources, with at least this score.

    Those that were trained on before (see `update_baseline`) are left out, unless `include_trained`.
    """

    limit: int = attrs.field(default=100, metadata=AT_LEAST_1)
    sources: tuple[CurationSource, ...] = attrs.field(default=CURATION_SOURCES, metadata=SOME_UNIQUE)
    min_score: float = attrs.field(default=0.0, metadata=FRACTION)
    include_trained: bool = False


@attrs.frozen(kw_only=True)
class CuratedExample:
    """An exchange with a user that is worth looking at.

    `response` is the user's edit where there is one, and `rejected` then what the model had said; None elsewhere. The
    response of a `hard_example` is the model's own, and bad: it needs a better one before it is trained on.
    """

    event_id: str
    deployment_id: str
    source: CurationSource
    score: float
    prompt: str
    response: str
    rejected: str | None = None


@attrs.frozen(kw_only=True, field_transformer=checked)
class ExportOptions:
    """Where to write, and how.

    What is there already is never replaced: other rows go beside it, with a number in the name (`today~2.jsonl`).
    """

    path: str = attrs.field(metadata=NOT_EMPTY)
    format: ExportFormat = "jsonl"


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
    """The mean score of the exchanges since the baseline, from 0 to 1, and of how many; None of none."""

    average: float | None
    count: int


class FeedbackClient(Port, unanswered=Unavailable.because):
    """Reads the feedback of one deployment at a time. A deployment that is not known is NotFound.

    Everything is measured from the baseline on: how far texts have moved from those before it, how good the exchanges
    since it were, how many there are.
    """

    @abstractmethod
    async def check_triggers(
        self, deployment_id: str, thresholds: TriggerThresholds = TriggerThresholds()
    ) -> Result[tuple[Trigger, ...], KitchenError]:
        """Give the reasons to train again; none is a reason not to. A new baseline takes away every reason but `scheduled`."""

    @abstractmethod
    async def curate(
        self, deployment_id: str, options: CurationOptions = CurationOptions()
    ) -> Result[tuple[CuratedExample, ...], KitchenError]:
        """Choose examples, the most valuable source and then the highest score first."""

    @abstractmethod
    async def export(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        """Write these examples, all of them and in this order, as conversations (`messages`).

        No examples at all are an InvalidRequest, and no file is made.
        """

    @abstractmethod
    async def export_preference_pairs(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        """Write those of these examples that a user edited, in this order, as `prompt`, `chosen` and `rejected`.

        None among them is an InvalidRequest, and no file is made.
        """

    @abstractmethod
    async def update_baseline(
        self, deployment_id: str, *, trained_on: Sequence[CuratedExample] = ()
    ) -> Result[None, KitchenError]:
        """Measure from here on, and curate what was trained on no more."""

    @abstractmethod
    async def get_drift_status(self, deployment_id: str) -> Result[DriftStatus, KitchenError]:
        """Say how far things have moved since the baseline."""

    @abstractmethod
    async def get_quality_metrics(self, deployment_id: str) -> Result[QualityMetrics, KitchenError]:
        """Say how well the deployment does since the baseline."""
