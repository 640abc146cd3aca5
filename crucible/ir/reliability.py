"""What makes answers and their comparison reliable: several models, second requests, checks, statistics, and limits on calls."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import attrs

from crucible.ir.problems import Problem
from crucible.ir.refs import ModelRef
from crucible.ir.rules import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    NOT_EMPTY,
    SOME_UNIQUE,
    UNIQUE,
    Limits,
    rule,
    within,
)

EnsembleStrategy: TypeAlias = Literal["best_confidence", "majority", "unanimous", "weighted"]
ExecutionMode: TypeAlias = Literal["cascade", "hedged", "parallel", "sequential"]
HedgingStrategy: TypeAlias = Literal["fixed", "percentile"]
GuardrailProfile: TypeAlias = Literal["default", "moderate", "permissive", "strict"]
GuardrailCheck: TypeAlias = Literal["content", "jailbreak", "pii", "prompt_injection"]
FairnessMetric: TypeAlias = Literal["demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity"]
StatisticalTest: TypeAlias = Literal["fisher", "mann_whitney", "paired_t", "welch", "wilcoxon"]
Correction: TypeAlias = Literal["bonferroni", "fdr", "holm"]
CountedUnit: TypeAlias = Literal["calls", "tokens"]
BudgetUnit: TypeAlias = Literal["calls", "seconds", "tokens"]

_INSIDE = within(Limits(above=0, below=1))


@attrs.frozen(kw_only=True)
class EnsembleSpec:
    """Several models that answer together.

    Args:
        models: those that are asked.
        strategy: how their answers become one.
        execution_mode: all at once; one after the other; the first with the others as hedges; or on only while they disagree.
        weights: of `weighted`: one for each model.
        min_agreement: the share that must agree; None for what the strategy asks.
        timeout_seconds: how long to wait for all of them; None for ever.
    """

    models: tuple[ModelRef, ...] = attrs.field(metadata=within(Limits(min_length=2)))
    strategy: EnsembleStrategy = "majority"
    execution_mode: ExecutionMode = "parallel"
    weights: tuple[float, ...] = ()
    min_agreement: float | None = attrs.field(default=None, metadata=FRACTION)
    timeout_seconds: float | None = attrs.field(default=None, metadata=ABOVE_0)

    @rule("strategy", "models", "weights")
    def _as_many_weights_as_models(self) -> Iterator[Problem]:
        if self.strategy == "weighted" and len(self.weights) != len(self.models):
            message = f"there are {len(self.models)} models and {len(self.weights)} weights"
            yield Problem(path="weights", message=message, fix="give one weight for each model")
        if self.strategy != "weighted" and self.weights:
            message = f"are for weighted, and the strategy is {self.strategy}"
            yield Problem(path="weights", message=message, fix="leave them out, or set strategy to weighted")

    @rule("weights")
    def _weights_are_shares(self) -> Iterator[Problem]:
        if any(weight < 0 for weight in self.weights) or (self.weights and sum(self.weights) <= 0):
            fix = "give numbers of at least 0, one of them above 0"
            yield Problem(path="weights", message="these are no shares", fix=fix)


@attrs.frozen(kw_only=True)
class HedgingSpec:
    """A second request where the first is slow; the answer that comes first counts.

    Args:
        strategy: after `delay_seconds`, or after the `percentile` of what the last calls took.
        delay_seconds: of `fixed`: how long to wait for an answer, and again before each further request.
        percentile: of `percentile`: from 0 to 100, both excluded.
        warm_up: of `percentile`: so many answers come before the first hedge.
        max_hedges: further requests for one answer, at the most.
        most_share: further requests at the most, as a share of all.
    """

    strategy: HedgingStrategy = "percentile"
    delay_seconds: float | None = attrs.field(default=None, metadata=AT_LEAST_0)
    percentile: float | None = attrs.field(default=None, metadata=within(Limits(above=0, below=100)))
    warm_up: int = attrs.field(default=20, metadata=within(Limits(at_least=1, at_most=1000)))
    max_hedges: int = attrs.field(default=1, metadata=AT_LEAST_1)
    most_share: float = attrs.field(default=0.05, metadata=AT_LEAST_0)

    @rule("strategy", "delay_seconds", "percentile")
    def _knows_how_long_to_wait(self) -> Iterator[Problem]:
        by_rank = self.strategy == "percentile"
        wanted, unwanted = ("percentile", "delay_seconds") if by_rank else ("delay_seconds", "percentile")
        if getattr(self, wanted) is None:
            yield Problem(path=wanted, message=f"the strategy {self.strategy} needs one", fix="give a number")
        if getattr(self, unwanted) is not None:
            message = f"the strategy {self.strategy} does not read it"
            yield Problem(path=unwanted, message=message, fix="leave it out, or take the other strategy")


@attrs.frozen(kw_only=True)
class GuardrailSpec:
    """What texts are looked at for.

    Args:
        profile: how strict the checks are.
        checks: which ones.
        redact_pii: put a mark in the place of what identifies people.
        fail_on_detection: whether a finding is an error; otherwise it is only told.
    """

    profile: GuardrailProfile = "default"
    checks: tuple[GuardrailCheck, ...] = attrs.field(default=("prompt_injection", "jailbreak"), metadata=SOME_UNIQUE)
    redact_pii: bool = False
    fail_on_detection: bool = True

    @rule("checks", "redact_pii")
    def _finds_what_it_redacts(self) -> Iterator[Problem]:
        if self.redact_pii and "pii" not in self.checks:
            yield Problem(path="redact_pii", message="pii is not looked for", fix="add pii to checks")


@attrs.frozen(kw_only=True)
class FairnessSpec:
    """How far groups may be treated differently.

    Args:
        group_by: the column that names the group.
        metrics: what is compared between groups.
        threshold: the largest difference.
        fail_on_violation: whether a larger one is an error; otherwise it is only told.
    """

    group_by: str = attrs.field(metadata=NOT_EMPTY)
    metrics: tuple[FairnessMetric, ...] = attrs.field(default=("demographic_parity",), metadata=SOME_UNIQUE)
    threshold: float = attrs.field(default=0.1, metadata=FRACTION)
    fail_on_violation: bool = False


@attrs.frozen(kw_only=True)
class StatsSpec:
    """How a run is compared with its baseline.

    Args:
        metrics: which ones; none for all that both have.
        test: None for the one that fits the data.
        paired: whether values at the same place belong together (the same seed, the same prompt).
        confidence: of the interval.
        correction: for looking at several metrics together.
    """

    metrics: tuple[str, ...] = attrs.field(default=(), metadata=UNIQUE)
    test: StatisticalTest | None = None
    paired: bool = False
    confidence: float = attrs.field(default=0.95, metadata=_INSIDE)
    correction: Correction = "holm"

    @rule("test", "paired")
    def _the_test_is_for_such_samples(self) -> Iterator[Problem]:
        if self.test is not None and self.test != "fisher" and (self.test in {"paired_t", "wilcoxon"}) != self.paired:
            samples = "samples that belong together" if self.paired else "samples of their own"
            message = f"{self.test} does not compare {samples}"
            yield Problem(
                path="test", message=message, fix=f"set paired to {str(not self.paired).lower()}, or leave it out"
            )


@attrs.frozen(kw_only=True)
class RetrySpec:
    """A call that failed because nobody answered is made again, up to `attempts` times in all, after a wait that doubles."""

    attempts: int = attrs.field(default=3, metadata=AT_LEAST_1)
    first_seconds: float = attrs.field(default=0.5, metadata=AT_LEAST_0)
    most_seconds: float = attrs.field(default=60.0, metadata=AT_LEAST_0)

    @rule("first_seconds", "most_seconds")
    def _waits_longer_and_longer(self) -> Iterator[Problem]:
        if self.first_seconds > self.most_seconds:
            message = f"is {self.first_seconds:g}, and most_seconds is {self.most_seconds:g}"
            yield Problem(path="first_seconds", message=message, fix="lower it, or raise most_seconds")


@attrs.frozen(kw_only=True)
class DeadlineSpec:
    """A call that is not answered within `seconds` is given up."""

    seconds: float = attrs.field(metadata=ABOVE_0)


@attrs.frozen(kw_only=True)
class RateLimitSpec:
    """At most `most` calls, or tokens, in any `per_seconds`; the others wait."""

    most: float = attrs.field(metadata=ABOVE_0)
    per_seconds: float = attrs.field(default=60.0, metadata=ABOVE_0)
    unit: CountedUnit = "calls"

    @rule("most", "unit")
    def _lets_a_call_through(self) -> Iterator[Problem]:
        if self.unit == "calls" and self.most < 1:
            message = f"is {self.most:g}, so no call could ever be made"
            yield Problem(path="most", message=message, fix="set it to 1, and raise per_seconds")


@attrs.frozen(kw_only=True)
class CircuitBreakerSpec:
    """Who did not answer `failures` times in a row is left alone for `reset_seconds`."""

    failures: int = attrs.field(default=5, metadata=AT_LEAST_1)
    reset_seconds: float = attrs.field(default=60.0, metadata=ABOVE_0)


@attrs.frozen(kw_only=True)
class BudgetSpec:
    """What the run may cost: it stops before a call that could cost more than is left."""

    limit: float = attrs.field(metadata=AT_LEAST_0)
    unit: BudgetUnit = "calls"


@attrs.frozen(kw_only=True)
class ReliabilitySpec:
    """All of it; what is left out is not done.

    The limits on calls lie around each other: a retry makes every attempt within the deadline, and all of them count.
    """

    ensemble: EnsembleSpec | None = None
    hedging: HedgingSpec | None = None
    guardrail: GuardrailSpec | None = None
    fairness: FairnessSpec | None = None
    stats: StatsSpec | None = None
    retry: RetrySpec | None = None
    deadline: DeadlineSpec | None = None
    rate_limit: RateLimitSpec | None = None
    circuit_breaker: CircuitBreakerSpec | None = None
    budget: BudgetSpec | None = None

    @rule("ensemble.execution_mode", "hedging")
    def _a_hedged_ensemble_says_when(self) -> Iterator[Problem]:
        if self.ensemble is not None and self.ensemble.execution_mode == "hedged" and self.hedging is None:
            message = "the ensemble is hedged, and nothing says when"
            yield Problem(path="hedging", message=message, fix="give it, or take another ensemble.execution_mode")
