"""`FeedbackClient` on nothing: exchanges in memory, exported to the noop `BlobStore`."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import PurePosixPath

import attrs

from crucible.effects import Failure, Handlers, Result, Success
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.handlers.noop.blobs import Blobs
from crucible.kitchen.ports import (
    CURATION_SOURCES,
    CuratedExample,
    CurationOptions,
    CurationSource,
    DriftStatus,
    ExportOptions,
    FeedbackClient,
    FeedbackExport,
    QualityMetrics,
    Trigger,
    TriggerThresholds,
)
from crucible.train.errors import InvalidRequest, NotFound, Unsupported
from crucible.train.types import Row, is_blob_path


@attrs.frozen(kw_only=True)
class Exchange:
    """One exchange with a user: what was asked and answered, what the user made of the answer, how good it was (0 to 1)."""

    id: str
    prompt: str
    response: str
    edited_response: str | None = None
    score: float = 0.5

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


def _made_up(number: int) -> Exchange:
    subject = ("a cat", "a dog", "the sun", "the sea")[number % 4]
    edited = f"Gladly. {subject.capitalize()} is known to all." if number % 3 == 0 else None
    return Exchange(
        id=f"exchange-{number}",
        prompt=f"Question {number}: what is {subject}?",
        response=f"It is {subject}.",
        edited_response=edited,
        score=number % 5 / 4,
    )


DEFAULT_EXCHANGES = tuple(map(_made_up, range(16)))
"""The feedback of a noop deployment that was given none."""


def feedback(
    *, exchanges: Mapping[str, Sequence[Exchange]] | None = None, blobs: Blobs | None = None
) -> Handlers[FeedbackClient]:
    """Handle feedback from exchanges in memory; the first half of them is the first baseline.

    Args:
        exchanges: by deployment, the oldest first; when None, every deployment has the same 16.
        blobs: where exports are written; without it they are refused.
    """
    return FeedbackClient.handled_by(_Feedback(exchanges, blobs))


class _Deployment:
    """What is known of one deployment."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self.exchanges = tuple(exchanges)
        self.baseline_size = len(self.exchanges) // 2
        self.trained_on: set[str] = set()

    @property
    def new(self) -> tuple[Exchange, ...]:
        """What came since the baseline."""
        return self.exchanges[self.baseline_size :]

    def drift(self, text: Callable[[Exchange], str]) -> float:
        before, now = (
            Counter(word for exchange in some for word in text(exchange).lower().split())
            for some in (self.exchanges[: self.baseline_size], self.new)
        )
        if not before or not now:
            return 0.0
        words = before.keys() | now.keys()
        return sum(abs(before[w] / before.total() - now[w] / now.total()) for w in words) / 2


class _Feedback(FeedbackClient):
    """A `FeedbackClient` over dicts. Drift is the total variation distance between the words before and since."""

    def __init__(self, exchanges: Mapping[str, Sequence[Exchange]] | None, blobs: Blobs | None) -> None:
        self._given = exchanges
        self._blobs = blobs
        self._deployments: dict[str, _Deployment] = {}

    async def check_triggers(
        self, deployment_id: str, thresholds: TriggerThresholds = TriggerThresholds()
    ) -> Result[tuple[Trigger, ...], KitchenError]:
        def checked(deployment: _Deployment) -> tuple[Trigger, ...]:
            drift = max(deployment.drift(lambda e: e.prompt), deployment.drift(lambda e: e.response))
            quality, count = _mean_score(deployment.new), len(deployment.new)
            wanted = thresholds
            found = [Trigger(kind="drift_threshold", value=drift, threshold=wanted.drift)] * (drift > wanted.drift)
            if quality is not None and quality < wanted.quality:
                found.append(Trigger(kind="quality_drop", value=quality, threshold=wanted.quality))
            if count >= wanted.num_examples:
                found.append(Trigger(kind="data_count", value=count, threshold=wanted.num_examples))
            return tuple(found)

        return self._find(deployment_id).map(checked)

    async def curate(
        self, deployment_id: str, options: CurationOptions = CurationOptions()
    ) -> Result[tuple[CuratedExample, ...], KitchenError]:
        def curated(deployment: _Deployment) -> tuple[CuratedExample, ...]:
            fitting = [
                exchange
                for exchange in deployment.exchanges
                if exchange.source in options.sources
                and exchange.score >= options.min_score
                and (options.include_trained or exchange.id not in deployment.trained_on)
            ]
            ranked = sorted(fitting, key=lambda e: (CURATION_SOURCES.index(e.source), -e.score, e.id))
            return tuple(_curated(deployment_id, exchange) for exchange in ranked[: options.limit])

        return self._find(deployment_id).map(curated)

    async def export(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        rows = [_conversation(example) for example in examples]
        return self._find(deployment_id).bind(lambda _: self._exported(rows, options))

    async def export_preference_pairs(
        self, deployment_id: str, examples: Sequence[CuratedExample], options: ExportOptions
    ) -> Result[FeedbackExport, KitchenError]:
        rows = [
            {"prompt": example.prompt, "chosen": example.response, "rejected": example.rejected}
            for example in examples
            if example.rejected is not None
        ]
        return self._find(deployment_id).bind(lambda _: self._exported(rows, options))

    async def update_baseline(
        self, deployment_id: str, *, trained_on: Sequence[CuratedExample] = ()
    ) -> Result[None, KitchenError]:
        def updated(deployment: _Deployment) -> None:
            deployment.baseline_size = len(deployment.exchanges)
            deployment.trained_on.update(example.event_id for example in trained_on)

        return self._find(deployment_id).map(updated)

    async def get_drift_status(self, deployment_id: str) -> Result[DriftStatus, KitchenError]:
        return self._find(deployment_id).map(
            lambda deployment: DriftStatus(
                input_drift=deployment.drift(lambda e: e.prompt), output_drift=deployment.drift(lambda e: e.response)
            )
        )

    async def get_quality_metrics(self, deployment_id: str) -> Result[QualityMetrics, KitchenError]:
        return self._find(deployment_id).map(
            lambda found: QualityMetrics(average=_mean_score(found.new), count=len(found.new))
        )

    def _find(self, deployment_id: str) -> Result[_Deployment, KitchenError]:
        given = DEFAULT_EXCHANGES if self._given is None else self._given.get(deployment_id)
        if given is None or not deployment_id:
            return Failure(NotFound(kind="deployment", name=deployment_id, fix="give noop.feedback its exchanges"))
        if deployment_id not in self._deployments:
            self._deployments[deployment_id] = _Deployment(given)
        return Success(self._deployments[deployment_id])

    def _exported(self, rows: Sequence[Row], options: ExportOptions) -> Result[FeedbackExport, KitchenError]:
        if self._blobs is None:
            fix = "make it with blobs: noop.feedback(blobs=...), or use noop.all()"
            return Failure(Unsupported(feature="exporting feedback", backend="noop.feedback", fix=fix))
        if options.format != "jsonl":
            return Failure(Unsupported(feature=options.format, backend="noop.feedback", fix="export jsonl"))
        if not is_blob_path(options.path):
            return Failure(InvalidRequest(message=f"{options.path!r} is no blob path", fix="use a relative path"))
        if not rows:
            fix = "give at least one example; a pair is of one that a user edited"
            return Failure(InvalidRequest(message="there is nothing to export", fix=fix))
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        path = next(path for path in _numbered(options.path) if self._blobs.held.get(path, data) == data)
        self._blobs.held[path] = data
        return Success(FeedbackExport(path=path, format="jsonl", num_rows=len(rows)))


def _numbered(path: str) -> Iterator[str]:
    """Give the path, then the same with a number in its name."""
    yield path
    for number in count(2):
        yield str(PurePosixPath(path).with_stem(f"{PurePosixPath(path).stem}~{number}"))


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


def _mean_score(exchanges: Sequence[Exchange]) -> float | None:
    return sum(exchange.score for exchange in exchanges) / len(exchanges) if exchanges else None
