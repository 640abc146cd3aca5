"""What is due after a step: the predicates of the conditionals in a training workflow."""

from typing import Generic, TypeVar

from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.stages.checkpoints import is_due
from crucible.kitchen.states import TrainingState

S = TypeVar("S", bound=TrainingState[TrainingConfig])


class Conditions(Generic[S]):
    """The predicates on one workflow's state: `when = Conditions[SupervisedState]()`, then `when.should_checkpoint`."""

    def should_checkpoint(self, state: S) -> bool:
        """Tell whether a checkpoint is due after this step."""
        return is_due(state.step, before=state.step_before, every=state.config.save_every)

    def should_evaluate(self, state: S) -> bool:
        """Tell whether an evaluation is due after this step."""
        due = is_due(state.step, before=state.step_before, every=state.config.eval_every)
        return due and state.config.is_measured

    def should_measure(self, state: S) -> bool:
        """Tell whether the run measures itself, and has not yet measured the weights as they are."""
        return state.config.is_measured and state.measured_step != state.step

    def is_registered(self, state: S) -> bool:
        """Tell whether the trained weights are to be registered."""
        return state.config.register_as is not None
