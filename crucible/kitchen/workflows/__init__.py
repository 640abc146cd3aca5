"""The workflows: compositions of stages, as values; reinforcement learning is made of what makes its environments."""

from crucible.kitchen.workflows.distillation import distillation, distillation_forward_kl
from crucible.kitchen.workflows.feedback_loop import feedback_loop
from crucible.kitchen.workflows.preference import preference
from crucible.kitchen.workflows.reinforcement import reinforcement, reinforcement_async
from crucible.kitchen.workflows.supervised import supervised

__all__ = [
    "distillation",
    "distillation_forward_kl",
    "feedback_loop",
    "preference",
    "reinforcement",
    "reinforcement_async",
    "supervised",
]
