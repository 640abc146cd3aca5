"""The feedback loop: when a deployed model's feedback gives a reason, train again on it, and measure from there."""

from crucible.kitchen.flow import conditional, zoom
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.feedback import (
    FeedbackConfig,
    check_triggers,
    curate_data,
    export_feedback_data,
    possible_loop,
    retraining_config,
    should_retrain,
    update_baseline,
    with_trained,
)
from crucible.kitchen.workflows.supervised import supervised

retrain = curate_data >> export_feedback_data >> zoom(retraining_config, with_trained, supervised) >> update_baseline

feedback_loop = (
    starting_from(FeedbackConfig, validate=possible_loop) >> check_triggers >> conditional(should_retrain, retrain)
).named("feedback_loop")
