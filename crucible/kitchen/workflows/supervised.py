"""Supervised fine-tuning, from a configuration to trained weights."""

from crucible.kitchen.flow import conditional, loop
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.supervised import (
    batches,
    build_supervised_dataset,
    epochs,
    get_batch,
    init_session,
    init_tokenizer,
    is_measured,
    is_registered,
    load_dataset,
    set_epoch,
    should_checkpoint,
    should_evaluate,
)
from crucible.kitchen.stages.training import (
    await_step,
    forward_backward,
    log_epoch_metrics,
    log_step_metrics,
    optim_step,
)

when_measured = conditional(is_measured, evaluate)
train_batch = get_batch >> forward_backward >> optim_step >> await_step >> log_step_metrics
supervised = (
    load_dataset
    >> init_session
    >> init_tokenizer
    >> build_supervised_dataset
    >> when_measured
    >> loop(
        "epochs",
        epochs,
        set_epoch
        >> loop(
            "batches",
            batches,
            train_batch >> conditional(should_checkpoint, save_checkpoint) >> conditional(should_evaluate, evaluate),
        )
        >> log_epoch_metrics,
    )
    >> save_final_weights
    >> when_measured
    >> conditional(is_registered, register_model)
    >> cleanup
).named("supervised")
