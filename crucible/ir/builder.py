"""An experiment in steps: each gives a new builder, and `build` says all that is wrong at once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from crucible.effects import Json, Result
from crucible.ir.check import MISSING, checked
from crucible.ir.experiment import Experiment, ExperimentType, TrainingSpec
from crucible.ir.problems import InvalidSpec
from crucible.ir.refs import (
    BackendName,
    BackendRef,
    DatasetRef,
    EvaluatorRef,
    ModelRef,
    OutputFormat,
    OutputSpec,
    StageDef,
)
from crucible.ir.reliability import (
    BudgetSpec,
    CircuitBreakerSpec,
    DeadlineSpec,
    EnsembleSpec,
    FairnessSpec,
    GuardrailSpec,
    HedgingSpec,
    RateLimitSpec,
    ReliabilitySpec,
    RetrySpec,
    StatsSpec,
)
from crucible.ir.serving import DeploymentSpec, FeedbackSpec


def experiment(id: str) -> "ExperimentBuilder":  # noqa: A002  # the field has this name
    """Begin an experiment.

    >>> from crucible.ir import SupervisedSpec
    >>> built = (
    ...     experiment("adds")
    ...     .with_model("HuggingFaceTB/SmolLM2-135M")
    ...     .with_dataset(DatasetRef(name="chain_sum", provider="reasoning_gym"))
    ...     .with_backend("torch")
    ...     .with_training(SupervisedSpec(epochs=2))
    ...     .add_output("report", "markdown", "json")
    ...     .build()
    ... )
    >>> built.unwrap().outputs[0].formats
    ('markdown', 'json')
    >>> print(experiment("adds").with_training(SupervisedSpec(epochs=0)).build().failure())
    the spec has 4 problems:
      - model: is missing (give it)
      - backend: is missing (give it)
      - training.epochs: must be at least 1, not 0 (raise it)
      - dataset: training by supervised needs one (say which rows to train on)
    """
    missing = cast("Any", MISSING)  # which `build` reports, as reading a file does
    return ExperimentBuilder(draft=Experiment(id=id, model=missing, backend=missing))


@attrs.frozen(kw_only=True)
class ExperimentBuilder:
    """What is said of an experiment so far. No step changes a builder, so several experiments may begin from one."""

    draft: Experiment

    def build(self) -> Result[Experiment, InvalidSpec]:
        """Give the experiment.

        Fails: InvalidSpec with all its problems.
        """
        return checked(self.draft)

    def with_description(self, description: str) -> "ExperimentBuilder":
        """Say what it is about."""
        return self._to(attrs.evolve(self.draft, description=description))

    def with_owner(self, owner: str) -> "ExperimentBuilder":
        """Say whose it is."""
        return self._to(attrs.evolve(self.draft, owner=owner))

    def with_tags(self, *tags: str) -> "ExperimentBuilder":
        """Add words to find it by."""
        return self._to(attrs.evolve(self.draft, tags=(*self.draft.tags, *tags)))

    def with_metadata(self, metadata: Mapping[str, Json]) -> "ExperimentBuilder":
        """Add anything else."""
        return self._to(attrs.evolve(self.draft, metadata={**self.draft.metadata, **metadata}))

    def with_experiment_type(self, experiment_type: ExperimentType) -> "ExperimentBuilder":
        """Say what it is for."""
        return self._to(attrs.evolve(self.draft, experiment_type=experiment_type))

    def with_model(self, model: ModelRef | str) -> "ExperimentBuilder":
        """Say which model; a text is the id of one on the hub."""
        return self._to(attrs.evolve(self.draft, model=ModelRef(id=model) if isinstance(model, str) else model))

    def with_dataset(self, dataset: DatasetRef | str) -> "ExperimentBuilder":
        """Say which rows; a text is the name of a dataset on the hub."""
        return self._to(
            attrs.evolve(self.draft, dataset=DatasetRef(name=dataset) if isinstance(dataset, str) else dataset)
        )

    def with_backend(self, backend: BackendRef | BackendName) -> "ExperimentBuilder":
        """Say where models are trained and sampled from."""
        return self._to(
            attrs.evolve(self.draft, backend=BackendRef(id=backend) if isinstance(backend, str) else backend)
        )

    def with_evaluator(self, evaluator: EvaluatorRef) -> "ExperimentBuilder":
        """Say who judges answers."""
        return self._to(attrs.evolve(self.draft, evaluator=evaluator))

    def with_training(self, training: TrainingSpec) -> "ExperimentBuilder":
        """Say how the model is trained."""
        return self._to(attrs.evolve(self.draft, training=training))

    def add_stage(
        self, name: str, options: Mapping[str, Json] | None = None, *, enabled: bool = True
    ) -> "ExperimentBuilder":
        """Add a stage to the pipeline."""
        stage = StageDef(name=name, options=options or {}, enabled=enabled)
        return self._to(attrs.evolve(self.draft, pipeline=(*self.draft.pipeline, stage)))

    def add_output(self, output: OutputSpec | str, *formats: OutputFormat) -> "ExperimentBuilder":
        """Add something to write of the results; a text is its name, and `formats` those of its files."""
        if isinstance(output, str):
            output = OutputSpec(name=output, formats=formats) if formats else OutputSpec(name=output)
        return self._to(attrs.evolve(self.draft, outputs=(*self.draft.outputs, output)))

    def with_ensemble(self, ensemble: EnsembleSpec) -> "ExperimentBuilder":
        """Let several models answer together."""
        return self._reliably(attrs.evolve(self.draft.reliability, ensemble=ensemble))

    def with_hedging(self, hedging: HedgingSpec) -> "ExperimentBuilder":
        """Ask a second time where an answer is slow."""
        return self._reliably(attrs.evolve(self.draft.reliability, hedging=hedging))

    def with_guardrail(self, guardrail: GuardrailSpec) -> "ExperimentBuilder":
        """Look at texts."""
        return self._reliably(attrs.evolve(self.draft.reliability, guardrail=guardrail))

    def with_fairness(self, fairness: FairnessSpec) -> "ExperimentBuilder":
        """Compare groups."""
        return self._reliably(attrs.evolve(self.draft.reliability, fairness=fairness))

    def with_stats(self, stats: StatsSpec) -> "ExperimentBuilder":
        """Compare with the baseline."""
        return self._reliably(attrs.evolve(self.draft.reliability, stats=stats))

    def with_retry(self, retry: RetrySpec) -> "ExperimentBuilder":
        """Make failed calls again."""
        return self._reliably(attrs.evolve(self.draft.reliability, retry=retry))

    def with_deadline(self, deadline: DeadlineSpec) -> "ExperimentBuilder":
        """Give up calls that take too long."""
        return self._reliably(attrs.evolve(self.draft.reliability, deadline=deadline))

    def with_rate_limit(self, rate_limit: RateLimitSpec) -> "ExperimentBuilder":
        """Let calls wait for each other."""
        return self._reliably(attrs.evolve(self.draft.reliability, rate_limit=rate_limit))

    def with_circuit_breaker(self, circuit_breaker: CircuitBreakerSpec) -> "ExperimentBuilder":
        """Leave alone who does not answer."""
        return self._reliably(attrs.evolve(self.draft.reliability, circuit_breaker=circuit_breaker))

    def with_budget(self, budget: BudgetSpec) -> "ExperimentBuilder":
        """Say what it may cost."""
        return self._reliably(attrs.evolve(self.draft.reliability, budget=budget))

    def with_deployment(self, deployment: DeploymentSpec) -> "ExperimentBuilder":
        """Say which version is served."""
        return self._to(attrs.evolve(self.draft, deployment=deployment))

    def with_feedback(self, feedback: FeedbackSpec) -> "ExperimentBuilder":
        """Say what is kept of what users tell."""
        return self._to(attrs.evolve(self.draft, feedback=feedback))

    def with_baseline(self, baseline: str) -> "ExperimentBuilder":
        """Name the experiment that it is compared with."""
        return self._to(attrs.evolve(self.draft, baseline=baseline))

    def with_seed(self, seed: int) -> "ExperimentBuilder":
        """Give the seed of everything that does not have its own."""
        return self._to(attrs.evolve(self.draft, seed=seed))

    def with_created_at(self, created_at: datetime) -> "ExperimentBuilder":
        """Say when it was written."""
        return self._to(attrs.evolve(self.draft, created_at=created_at))

    def _to(self, draft: Experiment) -> "ExperimentBuilder":
        return ExperimentBuilder(draft=draft)

    def _reliably(self, reliability: ReliabilitySpec) -> "ExperimentBuilder":
        return self._to(attrs.evolve(self.draft, reliability=reliability))
