"""The stages of the feedback loop: is it time to train again, on what, and from where drift is measured after it."""

from collections import Counter
from collections.abc import Sequence

import attrs

from crucible.effects import Do, Result, fail, perform, tell
from crucible.fields import AT_LEAST_1, NOT_EMPTY, checked
from crucible.kitchen.config import refused
from crucible.kitchen.context import Context
from crucible.kitchen.errors import KitchenError
from crucible.kitchen.ports import (
    CuratedExample,
    CurationOptions,
    ExportOptions,
    FeedbackClient,
    FeedbackExport,
    Trigger,
    TriggerThresholds,
)
from crucible.kitchen.stage import stage
from crucible.kitchen.stages.supervised import SupervisedConfig, SupervisedState
from crucible.telemetry.events import BaselineUpdated, FeedbackCurated, FeedbackExported, TriggersChecked
from crucible.train.errors import InvalidRequest


@attrs.frozen(kw_only=True, field_transformer=checked)
class FeedbackConfig:
    """A feedback loop.

    Args:
        deployment_id: whose feedback to look at.
        export: where to write what is trained on.
        retraining: the supervised run; it trains on all rows that were exported, whatever its `dataset` and `num_rows` say.
            Each begins with the model itself; to go on from the last one, give its checkpoint as `start_from`.
        thresholds: when to train again.
        curation: which examples to train on: exactly these are exported. By default those that were not trained on before,
            and only answers that are good: a hard example's is the bad one that the model gave.
        min_examples: fewer curated examples are an error, and nothing is trained.
    """

    deployment_id: str = attrs.field(metadata=NOT_EMPTY)
    export: ExportOptions
    retraining: SupervisedConfig
    thresholds: TriggerThresholds = TriggerThresholds()
    curation: CurationOptions = CurationOptions(sources=("user_edit", "high_quality"))
    min_examples: int = attrs.field(default=1, metadata=AT_LEAST_1)

    def problems(self) -> Sequence[str]:
        """Name what makes this configuration impossible, that of the retraining too."""
        problems = [f"retraining: {problem}" for problem in self.retraining.problems()]
        if self.min_examples > self.curation.limit:
            problems.append(f"min_examples is {self.min_examples}, but curation.limit is {self.curation.limit}")
        return tuple(problems)


def possible_loop(config: FeedbackConfig) -> Result[None, InvalidRequest]:
    """Let a configuration through whose retraining has no problems; too few examples are found when they are curated.

    Fails: InvalidRequest with all of them.
    """
    return refused([f"retraining: {problem}" for problem in config.retraining.impossible()])


@attrs.frozen(kw_only=True)
class FeedbackState:
    """What the loop has found and done so far."""

    config: FeedbackConfig
    triggers: tuple[Trigger, ...]
    curated: tuple[CuratedExample, ...] = ()
    exported: FeedbackExport | None = None
    trained: SupervisedState | None = None


@stage
def check_triggers(context: Context[FeedbackConfig]) -> Do[KitchenError, FeedbackClient, Context[FeedbackState]]:
    """Look for reasons to train again."""
    config = context.state
    triggers = yield from perform(FeedbackClient.check_triggers, config.deployment_id, config.thresholds)
    kinds = ", ".join(trigger.kind for trigger in triggers)
    yield from tell(TriggersChecked(deployment=config.deployment_id, num_triggers=len(triggers), kinds=kinds))
    return context.to(FeedbackState(config=config, triggers=triggers))


def should_retrain(state: FeedbackState) -> bool:
    """Tell whether there is a reason to train again."""
    return bool(state.triggers)


@stage
def curate_data(context: Context[FeedbackState]) -> Do[KitchenError, FeedbackClient, Context[FeedbackState]]:
    """Choose the examples worth training on; too few are an error."""
    config = context.state.config
    curated = yield from perform(FeedbackClient.curate, config.deployment_id, config.curation)
    sources = Counter[str](example.source for example in curated)
    yield from tell(FeedbackCurated(deployment=config.deployment_id, num_examples=len(curated), sources=dict(sources)))
    if len(curated) < config.min_examples:
        message = f"{len(curated)} examples are worth training on, {config.min_examples} are wanted"
        yield from fail(InvalidRequest(message=message, fix="wait for more feedback, or lower min_examples"))
    return context.to(attrs.evolve(context.state, curated=curated))


@stage
def export_feedback_data(context: Context[FeedbackState]) -> Do[KitchenError, FeedbackClient, Context[FeedbackState]]:
    """Write exactly the curated examples as a dataset."""
    config = context.state.config
    exported = yield from perform(FeedbackClient.export, config.deployment_id, context.state.curated, config.export)
    yield from tell(FeedbackExported(deployment=config.deployment_id, path=exported.path, num_rows=exported.num_rows))
    return context.to(attrs.evolve(context.state, exported=exported))


@stage
def update_baseline(context: Context[FeedbackState]) -> Do[KitchenError, FeedbackClient, Context[FeedbackState]]:
    """Measure from here on, and train on these examples no more."""
    deployment, trained_on = context.state.config.deployment_id, context.state.curated
    yield from perform(FeedbackClient.update_baseline, deployment, trained_on=trained_on)
    yield from tell(BaselineUpdated(deployment=deployment))
    return context


def retraining_config(state: FeedbackState) -> SupervisedConfig:
    """Give the supervised run on the exported file.

    Raises: ValueError when nothing was exported: put export_feedback_data before.
    """
    if state.exported is None:
        raise ValueError("nothing was exported to train on: put export_feedback_data before the retraining")
    retraining = state.config.retraining
    dataset = attrs.evolve(retraining.dataset, name=state.exported.path, split="train")
    return attrs.evolve(retraining, dataset=dataset, num_rows=None)


def with_trained(state: FeedbackState, trained: SupervisedState) -> FeedbackState:
    """Keep what the retraining gave."""
    return attrs.evolve(state, trained=trained)
