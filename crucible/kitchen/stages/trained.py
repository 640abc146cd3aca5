"""That a training trained: one that was to take optimizer steps and took none is no success."""

from crucible.effects import Failure, Result, Success
from crucible.kitchen.config import TrainingConfig
from crucible.kitchen.states import TrainingState
from crucible.train.algorithms.batching import steps_per_epoch
from crucible.train.errors import InvalidRequest, TrainError


def steps_were_taken(
    before: TrainingState[TrainingConfig], after: TrainingState[TrainingConfig]
) -> Result[None, TrainError]:
    """Compare a run before and after its training. What was complete before, as a resumed run may be, has no step to take.

    Fails: InvalidRequest when batches were left and no optimizer step was ever taken, or none had a gradient: it says why, where
        that is known.
    """
    config = before.config
    batches = config.epochs * steps_per_epoch(before.num_examples, batch_size=config.batch_size)
    if (after.step > 0 and after.had_gradient) or before.batches_done >= batches > 0:
        return Success(None)
    why = f": {after.why_no_step}" if after.why_no_step else ""
    done, left = after.batches_done - before.batches_done, batches - before.batches_done
    taken = f"no optimizer step was taken in {done} of {left} batches"
    nothing = taken if after.step == 0 else f"the gradient was 0 in all {after.step} optimizer steps"
    message = f"{nothing}{why}"
    return Failure(InvalidRequest(message=f"{message}; the weights are as they were, and are not saved", fix=_FIX))


_FIX = "give it data that it can learn from"
