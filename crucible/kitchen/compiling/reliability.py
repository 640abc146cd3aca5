"""What a spec asks of calls that leave this process: limits, second requests, further attempts."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Never

import attrs

from crucible.effects import (
    Budget,
    Call,
    Cost,
    Handlers,
    Hedging,
    Port,
    Rate,
    SlowerThan,
    backoff,
    circuit_breaker,
    deadline,
    hedge,
    port_of,
    rate_limit,
    retry,
    spend,
    working_seconds,
)
from crucible.ir import EnsembleSpec, HedgingSpec, Problem, RateLimitSpec, ReliabilitySpec
from crucible.kitchen.handlers import costs
from crucible.kitchen.handlers.ensemble import Voting
from crucible.kitchen.ports import Evaluator
from crucible.train.errors import is_transient
from crucible.train.ports import LLMClient, SamplingClient, TrainingClient

_HEDGED: tuple[Callable[..., object], ...] = (
    SamplingClient.sample,
    SamplingClient.compute_logprobs,
    LLMClient.chat,
    Evaluator.evaluate,
)
"""Operations that answer the same, or as well, when they are asked twice."""

_FREE = (SamplingClient.close_session, TrainingClient.close_session)
"""What ends something: it is never kept waiting, nor refused."""

_calls = Cost(unit="calls", at_most=lambda call: None if call.operation in _FREE else 1)
_COSTS: Mapping[str, Callable[[], Cost]] = {"calls": lambda: _calls, "seconds": working_seconds, "tokens": costs.tokens}


class OverRate(Exception):  # noqa: N818  # what happened, not a kind of error
    """A call that was not made, because it alone could take more than the rate allows, however long it waited."""

    def __init__(self, call: Call, limit: RateLimitSpec, asked: float) -> None:
        super().__init__(call, asked)
        self.call = call
        self.limit = limit
        self.asked = asked

    def __str__(self) -> str:
        limit = self.limit
        return (
            f"{self.call} could take {self.asked:g} {limit.unit}, and the rate is {limit.most:g} in"
            f" {limit.per_seconds:g} s: raise reliability.rate_limit.most, or ask for less"
        )


def reliability_problems(spec: ReliabilitySpec, needed: Collection[type[Port]]) -> Iterator[Problem]:
    """Name what is asked for and cannot be acted on in a workflow that needs these ports."""
    if spec.hedging is not None and not _hedged(needed):
        message = "no stage of this pipeline makes a call that can be made twice"
        yield Problem(path="reliability.hedging", message=message, fix="leave it out")
    if spec.ensemble is not None:
        yield from _ensemble_problems(spec.ensemble, needed)


def _ensemble_problems(spec: EnsembleSpec, needed: Collection[type[Port]]) -> Iterator[Problem]:
    path = "reliability.ensemble"
    if LLMClient not in needed:
        message = "no stage of this pipeline asks a chat model"
        yield Problem(path=path, message=message, fix="leave it out")
    if spec.strategy == "best_confidence":
        message = "chat models do not say how sure they are"
        yield Problem(path=f"{path}.strategy", message=message, fix="take majority, weighted or unanimous")
    if spec.execution_mode == "hedged":
        message = "no votes can be counted where one answer is enough"
        yield Problem(path=f"{path}.execution_mode", message=message, fix="give reliability.hedging alone")


def voting_of(spec: EnsembleSpec, names: Sequence[str]) -> Voting:
    """Say how the members of an ensemble vote."""
    assert spec.strategy != "best_confidence"
    assert spec.execution_mode != "hedged"
    return Voting(
        strategy=spec.strategy,
        mode=spec.execution_mode,
        weights=dict(zip(names, spec.weights, strict=False)),
        min_agreement=spec.min_agreement or 0.0,
    )


def reliable(handlers: Handlers[Never], spec: ReliabilitySpec) -> Handlers[Never]:
    """Wrap handlers in all that is asked for.

    From the inside: the rate and the budget count every attempt, each has the whole deadline, and what was late counts as a failure
    of the circuit. A hedge is another attempt, and a retry begins all of it again.
    """
    if spec.rate_limit is not None:
        handlers = rate_limit(handlers, _rate_of(spec.rate_limit))
    if spec.budget is not None:
        handlers = spend(handlers, Budget(spec.budget.limit, _COSTS[spec.budget.unit]()))
    if spec.deadline is not None:
        handlers = deadline(handlers, seconds=spec.deadline.seconds)
    if spec.circuit_breaker is not None:
        breaker = spec.circuit_breaker
        handlers = circuit_breaker(
            handlers, failures=breaker.failures, reset_seconds=breaker.reset_seconds, when=is_transient
        )
    if spec.hedging is not None:
        handlers = hedge(handlers, hedging_of(spec.hedging), operations=_hedged(handlers.ports))
    if spec.retry is not None:
        again = spec.retry
        waiting = backoff(first_seconds=again.first_seconds, most_seconds=again.most_seconds)
        handlers = retry(handlers, attempts=again.attempts, when=is_transient, wait_seconds=waiting)
    return handlers


def _rate_of(limit: RateLimitSpec) -> Rate:
    """Give the rate; a call that alone is more than it allows raises OverRate."""
    cost = _COSTS[limit.unit]()

    def at_most(call: Call) -> float | None:
        asked = cost.at_most(call)
        if asked is not None and asked > limit.most:
            raise OverRate(call, limit, asked)
        return asked

    return Rate(limit.most, per_seconds=limit.per_seconds, cost=attrs.evolve(cost, at_most=at_most))


def hedging_of(spec: HedgingSpec) -> Hedging:
    """Say when a call is made again.

    >>> hedging_of(HedgingSpec(strategy="fixed", delay_seconds=2.0, max_hedges=2)).begins(2)
    (0.0, 2.0, 4.0)
    """
    return Hedging(
        after_seconds=(
            SlowerThan(percentile=spec.percentile, warm_up=spec.warm_up)
            if spec.percentile is not None
            else spec.delay_seconds or 0.0
        ),
        most_share=spec.most_share,
        max_hedges=spec.max_hedges,
    )


def _hedged(ports: Collection[type[Port]]) -> tuple[Callable[..., object], ...]:
    return tuple(operation for operation in _HEDGED if port_of(operation) in ports)
