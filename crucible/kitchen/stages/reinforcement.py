"""The first stages of reinforcement learning: problems, and groups of environments. Episodes and updates are in `rollouts`.

An `EnvironmentOf` makes the environment of a row. Whatever ports its environments need, the stages made with it need too,
and the type of the workflow says so.
"""

import logging
from collections.abc import Sequence
from functools import partial
from reprlib import Repr
from typing import Generic, Never, Protocol, TypeVar

import attrs

from crucible.effects import Do, Eff, Result, do, from_result
from crucible.fields import AT_LEAST_0, AT_LEAST_1, FRACTION, NOT_EMPTY, checked
from crucible.kitchen.config import Reference, refused, unread
from crucible.kitchen.context import Context, Iteration
from crucible.kitchen.kept import KEPT
from crucible.kitchen.outline import ports_within
from crucible.kitchen.stage import Stage, stage
from crucible.kitchen.stages.policy import OnPolicyConfig, OnPolicyState
from crucible.kitchen.stages.positions import placed
from crucible.kitchen.stages.setup import laid_out, prompt_rules
from crucible.kitchen.states import Tokenized
from crucible.train.algorithms.batching import epoch_batches, steps_per_epoch
from crucible.train.algorithms.policy_gradient import PolicyGradient, reinforce
from crucible.train.environments import (
    Environment,
    EnvironmentFailed,
    EnvironmentGroup,
    FittedEnvironment,
    ProblemEnv,
    RolloutLimits,
    calling,
    guarded,
    observe,
)
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.renderers import ChatTemplateRenderer, Renderer
from crucible.train.types import Feature, Row

R = TypeVar("R")
_LOGGER = logging.getLogger(__name__)
_SHORT = Repr()
_SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 8, 40, 40
R_co = TypeVar("R_co", covariant=True)


@attrs.frozen(kw_only=True, field_transformer=checked)
class ReinforcementConfig(OnPolicyConfig):
    """A reinforcement run: `batch_size` problems in a round, `group_size` episodes of each.

    Args:
        group_size: episodes of each problem.
        algorithm: baseline, loss and aggregation (see `policy_gradient`).
        limits: where an episode is cut.
        kl_coef: of the KL to the reference, taken off the advantages; 0 for none.
        reference_path: sampler weights of the reference; None is the policy with which training begins, `start_from` or the
            model without adapters. A resumed run keeps the reference that it began with.
        reference_batch: sequences in one request to the reference.
        max_staleness: of the asynchronous workflow, in rounds: how many rounds the policy may have learned from since it was saved
            for the one it learns from now. As many are rolled out ahead at the most; none is dropped.
        max_failed_share: of the episodes of a round: `max_failing_rounds` in a row of which a greater share failed stop the run,
            once it has saved a checkpoint; 1.0 for never. A round of which no episode was finished stops it at once.
        max_failing_rounds: how many such rounds stop it.
    """

    algorithm: PolicyGradient = attrs.field(factory=reinforce)
    limits: RolloutLimits = RolloutLimits()
    kl_coef: float = attrs.field(default=0.0, metadata=AT_LEAST_0)
    reference_path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    reference_batch: int = attrs.field(default=16, metadata=AT_LEAST_1)
    group_size: int = attrs.field(default=4, metadata=AT_LEAST_1)
    max_staleness: int = attrs.field(default=1, metadata=AT_LEAST_1)
    max_failed_share: float = attrs.field(default=0.5, metadata=FRACTION)
    max_failing_rounds: int = attrs.field(default=3, metadata=AT_LEAST_1)

    @property
    def needs(self) -> tuple[Feature, ...]:
        """A policy loss, and a reference that scores episodes where the KL to it counts."""
        return ("policy_losses", "prompt_logprobs") if self.kl_coef else ("policy_losses",)

    def reference(self) -> Reference | None:
        """Give the policy that the KL is taken to; without a coefficient there is none."""
        return Reference(weights_path=self.reference_path) if self.kl_coef else None

    def impossible(self) -> Sequence[str]:
        """Name what no run can do, and what would do nothing."""
        problems, algorithm = list(super().impossible()), self.algorithm
        if not self.kl_coef:
            problems += unread(
                self, "reference_path", "reference_batch", because="nothing is asked of a reference where kl_coef is 0"
            )
        most = self.batch_size * self.group_size * self.limits.max_turns
        if self.num_minibatches > most:
            problems.append(
                f"num_minibatches is {self.num_minibatches}, but a round has at most {most} turns: lower it"
            )
        if algorithm.aggregation.kind != "fixed_length" and algorithm.aggregation.max_tokens != 1:
            problems.append(
                f"algorithm.aggregation.max_tokens is for fixed_length, not {algorithm.aggregation.kind}: leave it out"
            )
        if algorithm.loss.loss_fn == "dro" and algorithm.aggregation.kind != "token_sum":
            problems.append("algorithm.aggregation: the tokens of dro can only be summed, so set kind to token_sum")
        return tuple(problems)


def possible_in_turns(config: ReinforcementConfig) -> Result[None, InvalidRequest]:
    """Let a configuration through whose rounds are sampled in turns, and which has no problems.

    Fails: InvalidRequest with all of them.
    """
    because = "rounds are sampled in turns, so none is stale; reinforcement_async samples ahead"
    return refused((*config.impossible(), *unread(config, "max_staleness", because=because)))


@attrs.frozen(kw_only=True)
class ReinforcementState(OnPolicyState[ReinforcementConfig]):
    """The problems are read. `first_batch` is where this run began, in batches of the whole.

    `failing_rounds` counts the last rounds in a row of which more episodes failed than may.
    """

    problems: tuple[Row, ...]
    first_batch: int = 0
    failing_rounds: int = attrs.field(default=0, metadata=KEPT)

    def problems_of_batch(self, number: int) -> tuple[int, ...] | None:
        """Give the indices of the problems of a batch, counted over all epochs; None when there are no more."""
        per_epoch = steps_per_epoch(self.num_examples, batch_size=self.config.batch_size)
        epoch, place = divmod(number, max(per_epoch, 1))
        if epoch >= self.config.epochs or per_epoch == 0:
            return None
        order = epoch_batches(self.num_examples, batch_size=self.config.batch_size, epoch=epoch, seed=self.config.seed)
        return order[place]


class EnvironmentOf(Protocol[R_co]):
    """Makes the environment of a row."""

    def __call__(self, row: Row, renderer: Renderer, /) -> Eff[Environment[R_co], TrainError, R_co]:
        """Give the environment, or the error that the row is none."""


@attrs.frozen(kw_only=True)
class EnvironmentBatch(Generic[R_co]):
    """The environments of a batch: for each problem a group of episodes."""

    base: ReinforcementState
    groups: tuple[EnvironmentGroup[R_co], ...]


@stage
def build_problems(
    context: Context[Tokenized[ReinforcementConfig]],
) -> Do[TrainError, Never, Context[ReinforcementState]]:
    """Lay out the rounds and the schedule."""
    state, config = context.state, context.state.config
    size = len(state.rows)
    rounds = config.epochs * steps_per_epoch(size, batch_size=config.batch_size)
    optimization = yield from laid_out(config, total_steps=rounds * config.updates_per_batch)
    ready = ReinforcementState(
        config=config,
        session=state.session,
        tokenizer=state.tokenizer,
        optimization=optimization,
        num_examples=size,
        problems=state.rows,
    )
    begun = yield from placed(ready, state)
    return context.to(attrs.evolve(begun, first_batch=begun.batches_done))


def build_env_group(
    environment_of: EnvironmentOf[R],
) -> Stage[Context[Iteration[ReinforcementState, tuple[int, ...]]], Context[EnvironmentBatch[R]], TrainError, R]:
    """Make the stage that makes the environments of a batch: a group is `group_size` episodes of the same problem."""

    @stage
    def build_env_group(
        context: Context[Iteration[ReinforcementState, tuple[int, ...]]],
    ) -> Do[TrainError, R, Context[EnvironmentBatch[R]]]:
        """Make the environments of this batch."""
        base, indices = context.state.state, context.state.item
        groups = yield from environment_groups(base, indices, environment_of)
        return context.to(EnvironmentBatch(base=base, groups=groups))

    return build_env_group.needing(ports_within(environment_of))


@do
def environment_groups(
    base: ReinforcementState, indices: Sequence[int], environment_of: EnvironmentOf[R]
) -> Do[TrainError, R, tuple[EnvironmentGroup[R], ...]]:
    """Make a group of environments of each of these problems; one that cannot be used, or asked, is named by its index."""
    renderer, config = ChatTemplateRenderer(base.tokenizer), base.config
    rules = yield from from_result(
        prompt_rules(config, base.session, trained=config.max_tokens, answered=config.max_tokens)
    )
    groups: tuple[EnvironmentGroup[R], ...] = ()
    for index in indices:
        row = base.problems[index]
        named = f"row {index} {in_short(row)}"
        environment = yield from calling(partial(environment_of, row, renderer), of=named).alt(
            partial(_of_row, row, index)
        )
        if isinstance(environment, ProblemEnv):
            yield from calling(partial(_question, environment), of=named).alt(partial(_of_row, row, index))
        asked = guarded(environment, of=named)
        if rules is not None:
            asked = FittedEnvironment(environment=asked, rules=rules, index=index)
        groups = (*groups, EnvironmentGroup(environment=asked, size=config.group_size, row=index))
    return groups


def _question(environment: ProblemEnv[R]) -> Eff[object, EnvironmentFailed, Never]:
    return from_result(observe(environment.renderer, environment.messages))


def _of_row(row: Row, index: int, error: TrainError | EnvironmentFailed) -> TrainError:
    """Name the row that is to blame; the traceback of what was raised goes to the log."""
    if not isinstance(error, EnvironmentFailed):
        return attrs.evolve(error, index=index) if isinstance(error, InvalidRequest) else error
    if isinstance(error.cause, Exception):
        _LOGGER.info("no environment can be made of row %d", index, exc_info=error.cause)
    message = f"no environment can be made of the row {in_short(row)}: {error}"
    return InvalidRequest(message=message, fix="mend what makes environments, or leave the row out", index=index)


def in_short(row: Row) -> str:
    """Show a row in a line, its long values cut.

    >>> in_short({"prompt": "2+2?", "completion": "4" * 1000})
    "{'completion': '44444444444444444...444444444444444444', 'prompt': '2+2?'}"
    """
    return _SHORT.repr(dict(row))
