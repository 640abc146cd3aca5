"""Supervised fine-tuning, from a configuration to trained weights."""

from crucible.kitchen.flow import conditional, loop
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.supervised import (
    batches,
    build_supervised_dataset,
    epochs,
    get_batch,
    init_session,
    init_tokenizer,
    load_dataset,
    set_epoch,
    should_checkpoint,
)
from crucible.kitchen.stages.training import (
    await_step,
    forward_backward,
    log_epoch_metrics,
    log_step_metrics,
    optim_step,
)

train_batch = get_batch >> forward_backward >> optim_step >> await_step >> log_step_metrics
supervised = (
    load_dataset
    >> init_session
    >> init_tokenizer
    >> build_supervised_dataset
    >> loop(
        "epochs",
        epochs,
        set_epoch
        >> loop("batches", batches, train_batch >> conditional(should_checkpoint, save_checkpoint))
        >> log_epoch_metrics,
    )
    >> save_final_weights
    >> cleanup
).named("supervised")
