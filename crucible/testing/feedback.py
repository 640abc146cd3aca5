"""The contract of `FeedbackClient`, as a suite that any handler can be put through."""

from collections.abc import Callable
from typing import TypeAlias

import attrs

from crucible.effects import Do, Eff, Handlers, do, perform
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import (
    CURATION_SOURCES,
    CurationOptions,
    ExportOptions,
    FeedbackClient,
    TriggerThresholds,
)
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import DatasetConfig, Row

Law: TypeAlias = Do[KitchenError | TrainError, FeedbackClient | DatasetStore, None]


def check_feedback_client(
    make: Callable[[], Handlers[FeedbackClient | DatasetStore]],
    *,
    deployment_id: str,
    path: str = "contract/feedback.jsonl",
    missing: str | None = None,
) -> None:
    """Put the handlers that `make` gives through the contract of `FeedbackClient`.

    Args:
        make: gives fresh handlers, with the `DatasetStore` that reads what is exported; called once for each law.
        deployment_id: a deployment with feedback, edited answers among it, of which nothing was exported yet.
        path: where to export to.
        missing: a deployment that is not there.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    options = ExportOptions(path=path)
    laws = {
        "examples are curated by source, then by score": _curating(deployment_id),
        "an export is a dataset of conversations, and is made once": _exporting(deployment_id, options, pairs=False),
        "preference pairs are a dataset of edits, and are made once": _exporting(deployment_id, options, pairs=True),
        "drift is measured from the baseline": _drifting(deployment_id),
        "triggers say which threshold was passed": _triggering(deployment_id),
    }
    if missing is not None:
        laws["a deployment that is not there is not found"] = _missing(missing, options)
    obey(make, laws)


@do
def _curating(deployment_id: str) -> Law:
    examples = yield from perform(FeedbackClient.curate, deployment_id)
    require(len(examples) > 0, "nothing was curated")
    ranks = [(CURATION_SOURCES.index(example.source), -example.score) for example in examples]
    require_equal(ranks, sorted(ranks), "the order of sources and scores")
    for example in examples:
        require_equal(example.deployment_id, deployment_id, "the deployment")
        require(bool(example.prompt and example.response), f"{example.event_id} has no prompt or no response")
    first = CurationOptions(limit=1, sources=(examples[0].source,))
    require_equal((yield from perform(FeedbackClient.curate, deployment_id, first)), examples[:1], "the best example")
    high = max(example.score for example in examples)
    best = yield from perform(FeedbackClient.curate, deployment_id, CurationOptions(min_score=high))
    require(all(example.score >= high for example in best), f"a score is below {high}")


def _export(deployment_id: str, options: ExportOptions, *, pairs: bool) -> Eff[object, KitchenError, FeedbackClient]:
    operation = FeedbackClient.export_preference_pairs if pairs else FeedbackClient.export
    return perform(operation, deployment_id, options)


@do
def _exporting(deployment_id: str, options: ExportOptions, *, pairs: bool) -> Law:
    operation = FeedbackClient.export_preference_pairs if pairs else FeedbackClient.export
    export = yield from perform(operation, deployment_id, options)
    dataset = yield from perform(DatasetStore.load_dataset, DatasetConfig(name=export.path))
    rows = yield from perform(DatasetStore.read_rows, dataset)
    require_equal(len(rows), export.num_rows, "the number of rows")
    require(export.num_rows > 0, "an export of nothing is an error, not an empty file")
    for row in rows:
        require(_is_pair(row) if pairs else _is_conversation(row), f"a row is {dict(row)}")
    again = attrs.evolve(options, path=f"{options.path}.again.jsonl")
    yield from refused("exporting the same again", _export(deployment_id, again, pairs=pairs), NotFound)
    absent = perform(DatasetStore.load_dataset, DatasetConfig(name=again.path, split="no-such-split"))
    yield from refused("a file that was not made", absent)
    whole = yield from perform(operation, deployment_id, attrs.evolve(again, include_exported=True, limit=1))
    require_equal(whole.num_rows, 1, "the number of rows asked for again")


@do
def _drifting(deployment_id: str) -> Law:
    before = yield from perform(FeedbackClient.get_drift_status, deployment_id)
    require(0 <= before.input_drift <= 1 and 0 <= before.output_drift <= 1, f"the drift is {before}")
    for _ in range(2):
        yield from perform(FeedbackClient.update_baseline, deployment_id)
    after = yield from perform(FeedbackClient.get_drift_status, deployment_id)
    require_equal((after.input_drift, after.output_drift), (0.0, 0.0), "the drift from a new baseline")
    triggers = yield from perform(FeedbackClient.check_triggers, deployment_id, TriggerThresholds(drift=0.0))
    require(all(trigger.kind != "drift_threshold" for trigger in triggers), "a drift of 0 passed its threshold")


@do
def _triggering(deployment_id: str) -> Law:
    quality = yield from perform(FeedbackClient.get_quality_metrics, deployment_id)
    require(quality.count > 0 and quality.average is not None, f"the quality is {quality}")
    eager = TriggerThresholds(drift=0.0, quality=1.1, num_examples=1)
    kinds = [trigger.kind for trigger in (yield from perform(FeedbackClient.check_triggers, deployment_id, eager))]
    require({"quality_drop", "data_count"} <= set(kinds), f"the triggers are {kinds}")
    lazy = TriggerThresholds(drift=1.0, quality=-1.0, num_examples=10**9)
    for trigger in (yield from perform(FeedbackClient.check_triggers, deployment_id, lazy)):
        require_equal(trigger.kind, "scheduled", "a trigger whose threshold cannot be passed")


@do
def _missing(missing: str, options: ExportOptions) -> Law:
    for what, use in {
        "its triggers": perform(FeedbackClient.check_triggers, missing),
        "its examples": perform(FeedbackClient.curate, missing),
        "its export": _export(missing, options, pairs=False),
        "its pairs": _export(missing, options, pairs=True),
        "its baseline": perform(FeedbackClient.update_baseline, missing),
        "its drift": perform(FeedbackClient.get_drift_status, missing),
        "its quality": perform(FeedbackClient.get_quality_metrics, missing),
    }.items():
        yield from refused(f"{what}, of a deployment that is not there,", use, NotFound)


def _is_conversation(row: Row) -> bool:
    messages = row.get("messages")
    return isinstance(messages, list) and [message["role"] for message in messages][-2:] == ["user", "assistant"]


def _is_pair(row: Row) -> bool:
    texts = [row.get(key) for key in ("prompt", "chosen", "rejected")]
    return all(isinstance(text, str) and text for text in texts) and texts[1] != texts[2]
