"""Preference learning (DPO and its kin), from pairs of answers to trained weights."""

from crucible.kitchen.config import possible
from crucible.kitchen.flow import checked, conditional, loop
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.passes import Passes
from crucible.kitchen.stages.preference import (
    PreferenceConfig,
    PreferenceState,
    build_preference_dataset,
    compute_reference_logprobs,
    dpo_forward_backward,
    evaluate_preferences,
    get_preference_batch,
    log_dpo_metrics,
)
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.trained import steps_were_taken
from crucible.kitchen.stages.training import await_step, log_epoch_metrics, optim_step

passes = Passes[PreferenceState]()
when = Conditions[PreferenceState]()
measured = evaluate_preferences >> evaluate
measure = conditional(when.should_measure, measured)

train_batch = (
    get_preference_batch
    >> dpo_forward_backward
    >> optim_step
    >> await_step
    >> log_dpo_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, measured)
)
train_epoch = passes.set_epoch >> loop("pref_batches", passes.batches, train_batch) >> log_epoch_metrics
train = checked(loop("epochs", passes.epochs, train_epoch), steps_were_taken)

preference = (
    starting_from(PreferenceConfig, validate=possible)
    >> load_dataset
    >> init_session
    >> init_tokenizer
    >> build_preference_dataset
    >> compute_reference_logprobs
    >> measure
    >> train
    >> save_final_weights
    >> measure
    >> conditional(when.is_registered, register_model)
    >> cleanup
).named("preference")
