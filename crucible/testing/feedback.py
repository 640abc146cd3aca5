"""The contract of `FeedbackClient`, as a suite that any handler can be put through."""

from collections.abc import Callable
from typing import TypeAlias

from crucible.effects import Do, Handlers, do, perform
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import (
    CURATION_SOURCES,
    CurationOptions,
    ExportOptions,
    FeedbackClient,
    FeedbackExport,
    TriggerThresholds,
)
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest, NotFound, TrainError
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
        deployment_id: a deployment with feedback, of which nothing was trained on yet: at least 3 examples to curate, edited
            answers and others among them, some of them since the baseline.
        path: where to export to.
        missing: a deployment that is not there.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    options = ExportOptions(path=path)
    laws = {
        "examples are curated by source, then by score": _curating(deployment_id),
        "an export is a dataset of the examples given, as conversations": _exporting(deployment_id, options),
        "preference pairs are a dataset of the examples that were edited": _exporting_pairs(deployment_id, options),
        "what was trained on is curated no more": _training(deployment_id),
        "everything is measured from the baseline": _measuring(deployment_id),
        "triggers say which threshold was passed": _triggering(deployment_id),
    }
    if missing is not None:
        laws["a deployment that is not there is not found"] = _missing(missing, deployment_id, options)
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


@do
def _exporting(deployment_id: str, options: ExportOptions) -> Law:
    examples = yield from perform(FeedbackClient.curate, deployment_id)
    paths = set()
    for chosen in (examples, examples[::-1][:2], examples):  # under one path: what was exported stays as it is
        export = yield from perform(FeedbackClient.export, deployment_id, chosen, options)
        rows = yield from _read(export)
        require_equal(len(rows), export.num_rows, "the number of rows")
        said = [[(message["role"], message["content"]) for message in _messages(row)] for row in rows]
        wanted = [[("user", example.prompt), ("assistant", example.response)] for example in chosen]
        require_equal(said, wanted, "the conversations, in the order of the examples")
        paths.add(export.path)
    require_equal(len(paths), 2, "the number of files that two different exports and a repeated one made")
    none = perform(FeedbackClient.export, deployment_id, (), options)
    yield from refused("an export of no examples", none, InvalidRequest)


@do
def _exporting_pairs(deployment_id: str, options: ExportOptions) -> Law:
    examples = yield from perform(FeedbackClient.curate, deployment_id)
    edited = [example for example in examples if example.rejected is not None]
    export = yield from perform(FeedbackClient.export_preference_pairs, deployment_id, examples, options)
    rows = yield from _read(export)
    require_equal(export.num_rows, len(edited), "the number of pairs")
    found = [(row.get("prompt"), row.get("chosen"), row.get("rejected")) for row in rows]
    require_equal(found, [(one.prompt, one.response, one.rejected) for one in edited], "the pairs")
    require(all(chosen != rejected for _, chosen, rejected in found), "a pair is twice the same answer")
    others = [example for example in examples if example.rejected is None]
    none = perform(FeedbackClient.export_preference_pairs, deployment_id, others, options)
    yield from refused("pairs of examples that nobody edited", none, InvalidRequest)


@do
def _read(export: FeedbackExport) -> Do[TrainError, DatasetStore, tuple[Row, ...]]:
    dataset = yield from perform(DatasetStore.load_dataset, DatasetConfig(name=export.path))
    rows = yield from perform(DatasetStore.read_rows, dataset)
    return rows


@do
def _training(deployment_id: str) -> Law:
    examples = yield from perform(FeedbackClient.curate, deployment_id)
    used, left = examples[:2], examples[2:]
    for _ in range(2):
        yield from perform(FeedbackClient.update_baseline, deployment_id, trained_on=used)
    require_equal((yield from perform(FeedbackClient.curate, deployment_id)), left, "the examples that are left")
    everything = CurationOptions(include_trained=True)
    again = yield from perform(FeedbackClient.curate, deployment_id, everything)
    require_equal(again, examples, "the examples, those that were trained on among them")


@do
def _measuring(deployment_id: str) -> Law:
    before = yield from perform(FeedbackClient.get_drift_status, deployment_id)
    require(0 <= before.input_drift <= 1 and 0 <= before.output_drift <= 1, f"the drift is {before}")
    for _ in range(2):
        yield from perform(FeedbackClient.update_baseline, deployment_id)
    after = yield from perform(FeedbackClient.get_drift_status, deployment_id)
    require_equal((after.input_drift, after.output_drift), (0.0, 0.0), "the drift from a new baseline")
    quality = yield from perform(FeedbackClient.get_quality_metrics, deployment_id)
    require_equal((quality.average, quality.count), (None, 0), "the quality since a new baseline")
    eager = TriggerThresholds(drift=0.0, quality=1.1, num_examples=1)
    for trigger in (yield from perform(FeedbackClient.check_triggers, deployment_id, eager)):
        require_equal(trigger.kind, "scheduled", "a trigger right after a new baseline")


@do
def _triggering(deployment_id: str) -> Law:
    quality = yield from perform(FeedbackClient.get_quality_metrics, deployment_id)
    require(quality.count > 0 and quality.average is not None, f"the quality is {quality}")
    eager = TriggerThresholds(drift=0.0, quality=1.1, num_examples=1)
    kinds = [trigger.kind for trigger in (yield from perform(FeedbackClient.check_triggers, deployment_id, eager))]
    require({"quality_drop", "data_count"} <= set(kinds), f"the triggers are {kinds}")
    lazy = TriggerThresholds(drift=1.0, quality=0.0, num_examples=10**9)
    for trigger in (yield from perform(FeedbackClient.check_triggers, deployment_id, lazy)):
        require_equal(trigger.kind, "scheduled", "a trigger whose threshold cannot be passed")


@do
def _missing(missing: str, deployment_id: str, options: ExportOptions) -> Law:
    examples = yield from perform(FeedbackClient.curate, deployment_id)
    for what, use in {
        "its triggers": perform(FeedbackClient.check_triggers, missing),
        "its examples": perform(FeedbackClient.curate, missing),
        "its export": perform(FeedbackClient.export, missing, examples, options),
        "its pairs": perform(FeedbackClient.export_preference_pairs, missing, examples, options),
        "its baseline": perform(FeedbackClient.update_baseline, missing),
        "its drift": perform(FeedbackClient.get_drift_status, missing),
        "its quality": perform(FeedbackClient.get_quality_metrics, missing),
    }.items():
        yield from refused(f"{what}, of a deployment that is not there,", use, NotFound)


def _messages(row: Row) -> list[dict[str, object]]:
    messages = row.get("messages")
    return messages if isinstance(messages, list) else []
