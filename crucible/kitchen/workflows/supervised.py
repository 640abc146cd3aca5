"""Supervised fine-tuning, from a configuration to trained weights."""

from crucible.kitchen.config import possible
from crucible.kitchen.flow import checked, conditional, loop
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.passes import Passes
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.supervised import (
    SupervisedConfig,
    SupervisedState,
    build_supervised_dataset,
    get_batch,
)
from crucible.kitchen.stages.trained import steps_were_taken
from crucible.kitchen.stages.training import (
    await_step,
    forward_backward,
    log_epoch_metrics,
    log_step_metrics,
    optim_step,
)

passes = Passes[SupervisedState]()
when = Conditions[SupervisedState]()
measure = conditional(when.should_measure, evaluate)

train_batch = (
    get_batch
    >> forward_backward
    >> optim_step
    >> await_step
    >> log_step_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, evaluate)
)
train_epoch = passes.set_epoch >> loop("batches", passes.batches, train_batch) >> log_epoch_metrics
train = checked(loop("epochs", passes.epochs, train_epoch), steps_were_taken)

supervised = (
    starting_from(SupervisedConfig, validate=possible)
    >> load_dataset
    >> init_session
    >> init_tokenizer
    >> build_supervised_dataset
    >> measure
    >> train
    >> save_final_weights
    >> measure
    >> conditional(when.is_registered, register_model)
    >> cleanup
).named("supervised")
