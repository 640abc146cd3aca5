"""What becomes of a run whose episodes fail: a round without one ends it, and so do too many that fail for some rounds."""

from typing import Never

import attrs

from crucible.effects import Do, attempt, do, fail, fold
from crucible.kitchen.context import Context
from crucible.kitchen.stage import stage
from crucible.kitchen.stages.checkpoints import save_checkpoint
from crucible.kitchen.stages.reinforcement import ReinforcementState, in_short
from crucible.kitchen.stages.rollouts import RolledOut
from crucible.train.environments import failed_alike
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import TrainingClient


@stage
def check_episodes(context: Context[RolledOut]) -> Do[TrainError, TrainingClient, Context[RolledOut]]:
    """End the run where no episode of the round was finished, or too many failed for some rounds; what was learned is saved."""
    rolled, config = context.state, context.state.base.config
    is_failing = rolled.num_failed > config.max_failed_share * (rolled.num_failed + rolled.num_finished)
    failing = rolled.base.failing_rounds + 1 if is_failing else 0
    base = attrs.evolve(rolled.base, failing_rounds=failing)
    if rolled.num_finished == 0 or failing >= config.max_failing_rounds:
        saved = yield from _saved(context.to(attrs.evolve(base, failing_rounds=0)))  # once mended, it counts anew
        yield from fail(_why(attrs.evolve(rolled, base=base), saved))
    return context.to(attrs.evolve(rolled, base=base))


@do
def _saved(context: Context[ReinforcementState]) -> Do[Never, TrainingClient, str]:
    """Save what the policy has learned, where it has learned anything; say where, or why not."""
    if context.state.step == 0:
        return "no optimizer step was taken before"
    saved = yield from attempt(save_checkpoint(context))
    return fold(
        saved,
        lambda after: f"go on with resume_from={after.state.checkpoint.path!r}" if after.state.checkpoint else "",
        lambda error: f"the checkpoint of step {context.state.step} could not be saved ({error})",
    )


def _why(rolled: RolledOut, saved: str) -> InvalidRequest:
    """Say of most episodes that failed why, and show the row of the first of them."""
    base, config = rolled.base, rolled.base.config
    count = f"{rolled.num_failed} of {rolled.num_failed + rolled.num_finished}"
    told = f"no episode of round {base.batches_done} was finished: {count} failed"
    if rolled.num_finished:
        share = (
            f"more than {config.max_failed_share:.0%} of the episodes of {base.failing_rounds} rounds in a row failed"
        )
        told = f"{share}, {count} in round {base.batches_done}"
    most = next(iter(failed_alike(rolled.groups)))
    index = rolled.rows[most.group]
    row = "" if index is None else f", first with the row {in_short(base.problems[index])}"
    message = f"{told}, {most.count} of them because: {most.why}{row}"
    mend = "mend the environment or what it asks" + (", or raise max_failed_share" if rolled.num_finished else "")
    return InvalidRequest(message=message, fix=f"{mend}; {saved}", index=index)
