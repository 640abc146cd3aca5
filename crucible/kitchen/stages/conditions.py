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
        return self.is_measured(state) and is_due(state.step, before=state.step_before, every=state.config.eval_every)

    def is_measured(self, state: S) -> bool:
        """Tell whether the run measures itself on held-out rows."""
        return state.config.evaluation is not None

    def is_registered(self, state: S) -> bool:
        """Tell whether the trained weights are to be registered."""
        return state.config.register_as is not None
