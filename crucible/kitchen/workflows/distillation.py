"""Distillation, from prompts and teachers to a trained student: on its own samples, or on theirs."""

from crucible.kitchen.config import possible
from crucible.kitchen.flow import checked, conditional, loop
from crucible.kitchen.stage import starting_from
from crucible.kitchen.stages.checkpoints import cleanup, save_checkpoint, save_final_weights
from crucible.kitchen.stages.conditions import Conditions
from crucible.kitchen.stages.distillation import (
    DistillationConfig,
    DistillationState,
    build_distillation_dataset,
    cleanup_teacher,
    evaluate_distillation,
    get_distillation_batch,
    get_imitation_batch,
    init_teacher,
    is_on_policy,
    log_distillation_metrics,
    student_inference,
    teacher_inference,
)
from crucible.kitchen.stages.evaluation import evaluate
from crucible.kitchen.stages.forward_kl import (
    answered_by_teachers,
    forward_kl_update,
    get_lesson_batch,
    possible_by_forward_kl,
    teacher_top_tokens,
)
from crucible.kitchen.stages.passes import Passes
from crucible.kitchen.stages.policy import policy_update
from crucible.kitchen.stages.registration import register_model
from crucible.kitchen.stages.setup import init_session, init_tokenizer, load_dataset
from crucible.kitchen.stages.trained import steps_were_taken
from crucible.kitchen.stages.training import (
    await_step,
    forward_backward,
    log_epoch_metrics,
    log_step_metrics,
    optim_step,
)

passes = Passes[DistillationState]()
when = Conditions[DistillationState]()
measured = evaluate_distillation >> evaluate
measure = conditional(when.should_measure, measured)

on_policy_batch = (
    get_distillation_batch
    >> student_inference
    >> policy_update
    >> log_distillation_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, measured)
)
imitation_batch = (
    get_imitation_batch
    >> forward_backward
    >> optim_step
    >> await_step
    >> log_step_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, measured)
)
on_policy = loop("epochs", passes.epochs, passes.set_epoch >> loop("dist_batches", passes.batches, on_policy_batch))
off_policy = teacher_inference >> loop(
    "epochs",
    passes.epochs,
    passes.set_epoch >> loop("dist_batches", passes.batches, imitation_batch) >> log_epoch_metrics,
)
train = checked(conditional(is_on_policy, on_policy, off_policy), steps_were_taken)

lesson_batch = (
    get_lesson_batch
    >> forward_kl_update
    >> log_distillation_metrics
    >> conditional(when.should_checkpoint, save_checkpoint)
    >> conditional(when.should_evaluate, measured)
)
forward_kl_epoch = passes.set_epoch >> loop("dist_batches", passes.batches, lesson_batch) >> log_epoch_metrics
train_forward_kl = checked(
    teacher_inference >> teacher_top_tokens >> loop("epochs", passes.epochs, forward_kl_epoch), steps_were_taken
)

distillation = (
    starting_from(DistillationConfig, validate=possible)
    >> load_dataset
    >> init_session
    >> init_tokenizer
    >> build_distillation_dataset
    >> init_teacher
    >> measure
    >> train
    >> save_final_weights
    >> measure
    >> conditional(when.is_registered, register_model)
    >> cleanup_teacher
    >> cleanup
).named("distillation")

distillation_forward_kl = (
    starting_from(DistillationConfig, validate=possible_by_forward_kl)
    >> answered_by_teachers
    >> load_dataset
    >> init_session
    >> init_tokenizer
    >> build_distillation_dataset
    >> init_teacher
    >> measure
    >> train_forward_kl
    >> save_final_weights
    >> measure
    >> conditional(when.is_registered, register_model)
    >> cleanup_teacher
    >> cleanup
).named("distillation_forward_kl")
