"""`RuledFeedback`: a `FeedbackClient` over exchanges, wherever they are kept. What is measured, chosen and written is said here."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from math import fsum
from pathlib import PurePosixPath
from statistics import fmean
from typing import ClassVar, TypeVar

import attrs

from crucible.effects import Failure, Result
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import (
    CURATION_SOURCES,
    CuratedExample,
    CurationOptions,
    DriftStatus,
    Exchange,
    ExportOptions,
    FeedbackClient,
    FeedbackExport,
    QualityMetrics,
    Trigger,
    TriggerThresholds,
)
from crucible.train.errors import InvalidRequest, Unsupported
from crucible.train.types import Row, is_blob_path

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Deployment:
    """What is known of one deployment: its exchanges, the oldest first, up to the baseline and since."""

    id: str
    before: tuple[Exchange, ...]
    new: tuple[Exchange, ...]
    trained_on: frozenset[str] = frozenset()

    @property
    def drift(self) -> DriftStatus:
        """How far prompts and responses have moved."""
        return DriftStatus(
            input_drift=_distance([e.prompt for e in self.before], [e.prompt for e in self.new]),
            output_drift=_distance([e.response for e in self.before], [e.response for e in self.new]),
        )

    @property
    def quality(self) -> QualityMetrics:
        """How good the new exchanges are."""
        scores = [exchange.score for exchange in self.new]
        return QualityMetrics(average=fmean(scores) if scores else None, count=len(scores))

    def triggers(self, thresholds: TriggerThresholds) -> tuple[Trigger, ...]:
        """Give the reasons to train again."""
        quality, moved = self.quality, self.drift
        drift = max(moved.input_drift, moved.output_drift)
        found: list[Trigger] = []
        if drift > thresholds.drift:
            found.append(Trigger(kind="drift_threshold", value=drift, threshold=thresholds.drift))
        if quality.average is not None and quality.average < thresholds.quality:
            found.append(Trigger(kind="quality_drop", value=quality.average, threshold=thresholds.quality))
        if quality.count >= thresholds.num_examples:
            found.append(Trigger(kind="data_count", value=quality.count, threshold=thresholds.num_examples))
        return tuple(found)

    def curated(self, options: CurationOptions) -> tuple[CuratedExample, ...]:
        """Choose examples, the most valuable source and then the highest score first."""
        fitting = [
            exchange
            for exchange in (*self.before, *self.new)
            if exchange.source in options.sources
            and exchange.score >= options.min_score
            and (options.include_trained or exchange.id not in self.trained_on)
        ]
        ranked = sorted(fitting, key=lambda e: (CURATION_SOURCES.index(e.source), -e.score, e.id))
        return tuple(_curated(self.id, exchange) for exchange in ranked[: options.limit])


class RuledFeedback(FeedbackClient):
    """A `FeedbackClient` that only has to say how exchanges, baselines and exports are kept."""

    NAME: ClassVar[str]
    """What made it, for errors."""

    @abstractmethod
    async def _ask(self, deployment_id: str, question: Callable[[Deployment], T]) -> Result[T, KitchenError]:
        """Answer a question about a deployment, or say that it is not known."""

    @abstractmethod
    async def _write(self, path: str, data: bytes) -> Result[str, KitchenError]:
        """Write the file of an export to the first `numbered(path)` that is free or holds just that; give its name as a dataset."""

    async def check_triggers(
        self, deployment_id: str, thresholds: TriggerThresholds = TriggerThresholds()
    ) -> Result[tuple[Trigger, ...], KitchenError]:
        return await self._ask(deployment_id, lambda deployment: deployment.triggers(thresholds))

    async def curate(
        self, deployment_id: str, options: CurationOptions = CurationOptions()
    ) -> Result[tuple[CuratedExample, ...], KitchenError]:
        return await self._ask(deployment_id, lambda deployment: deployment.curated(options))

    async def export(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        return await self._export(deployment_id, [_conversation(example) for example in examples], options)

    async def export_preference_pairs(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        pairs = [
            {"prompt": example.prompt, "chosen": example.response, "rejected": example.rejected}
            for example in examples
            if example.rejected is not None
        ]
        return await self._export(deployment_id, pairs, options)

    async def get_drift_status(self, deployment_id: str) -> Result[DriftStatus, KitchenError]:
        return await self._ask(deployment_id, lambda deployment: deployment.drift)

    async def get_quality_metrics(self, deployment_id: str) -> Result[QualityMetrics, KitchenError]:
        return await self._ask(deployment_id, lambda deployment: deployment.quality)

    async def _export(
        self, deployment_id: str, rows: Sequence[Row], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        known = await self._ask(deployment_id, lambda deployment: deployment.id)
        if isinstance(known, Failure):
            return known
        if options.format != "jsonl":
            return Failure(Unsupported(feature=options.format, backend=self.NAME, fix="export jsonl"))
        if not is_blob_path(options.path):
            return Failure(InvalidRequest(message=f"{options.path!r} is no blob path", fix="use a relative path"))
        if not rows:
            fix = "give at least one example; a pair is of one that a user edited"
            return Failure(InvalidRequest(message="there is nothing to export", fix=fix))
        written = await self._write(options.path, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        return written.map(lambda name: FeedbackExport(path=name, format="jsonl", num_rows=len(rows)))


def numbered(path: str) -> Iterator[str]:
    """Give the path, then the same with a number in its name.

    >>> paths = numbered("feedback/today.jsonl")
    >>> next(paths), next(paths)
    ('feedback/today.jsonl', 'feedback/today~2.jsonl')
    """
    yield path
    for number in count(2):
        yield str(PurePosixPath(path).with_stem(f"{PurePosixPath(path).stem}~{number}"))


def _distance(before: Sequence[str], now: Sequence[str]) -> float:
    """Give the total variation distance between the words of some texts and of others, 0 where there are none."""
    old, new = (Counter(word for text in texts for word in text.lower().split()) for texts in (before, now))
    if not old or not new:
        return 0.0
    num_old, num_new = old.total(), new.total()
    words = old.keys() | new.keys()
    return min(1.0, fsum(abs(old[word] / num_old - new[word] / num_new) for word in words) / 2)


def _conversation(example: CuratedExample) -> Row:
    user, assistant = {"role": "user", "content": example.prompt}, {"role": "assistant", "content": example.response}
    return {"messages": [user, assistant]}


def _curated(deployment_id: str, exchange: Exchange) -> CuratedExample:
    return CuratedExample(
        event_id=exchange.id,
        deployment_id=deployment_id,
        source=exchange.source,
        score=exchange.score,
        prompt=exchange.prompt,
        response=exchange.best_response,
        rejected=None if exchange.best_response == exchange.response else exchange.response,
    )
