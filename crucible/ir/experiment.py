"""`Experiment`: what is run, on what, where, and what is written of it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Json
from crucible.ir.on_policy import DistillationSpec, ReinforcementSpec
from crucible.ir.problems import Problem
from crucible.ir.refs import BackendRef, DatasetRef, EvaluatorRef, ModelRef, OutputSpec, StageDef
from crucible.ir.reliability import ReliabilitySpec
from crucible.ir.rules import UNIQUE, Limits, rule, within
from crucible.ir.serving import DeploymentSpec, FeedbackLoopSpec, FeedbackSpec
from crucible.ir.training import PreferenceSpec, SupervisedSpec

TrainingSpec: TypeAlias = SupervisedSpec | PreferenceSpec | ReinforcementSpec | DistillationSpec | FeedbackLoopSpec
"""How a model is trained, by one of the methods there are; in files the key `method` says by which."""

ExperimentType: TypeAlias = Literal["ablation", "comparison", "evaluation", "training"]

_NAME = within(Limits(min_length=1, pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*"))
_WITHOUT_DATASET = (FeedbackLoopSpec,)


@attrs.frozen(kw_only=True)
class Experiment:
    """An experiment, whole: what a run of it needs to know, and nothing that a run finds out.

    Making one checks nothing: `problems_of` says all that is wrong with it.

    >>> experiment = Experiment(
    ...     id="adds",
    ...     model=ModelRef(id="m"),
    ...     dataset=DatasetRef(name="d"),
    ...     backend=BackendRef(id="noop"),
    ...     training=SupervisedSpec(),
    ... )
    >>> experiment.training.epochs
    1

    Args:
        id: letters, digits, dots, dashes and underscores: it names folders.
        description: what it is about.
        owner: whose it is.
        tags: words to find it by.
        metadata: anything else; nothing here reads it.
        experiment_type: what it is for.
        model: what is trained, or asked.
        dataset: the rows; a feedback loop has its own.
        backend: where models are trained and sampled from.
        evaluator: who judges answers; None for who belongs to the dataset.
        training: how the model is trained; None where `pipeline` says all.
        pipeline: stages in order; none for the standard workflow of the method.
        reliability: what makes answers and their comparison reliable.
        deployment: which version is served.
        feedback: what is kept of what users tell.
        outputs: what is written of the results.
        baseline: the id of the experiment that this one is compared with.
        seed: of everything that does not have its own.
        created_at: when it was written, with its time zone.
    """

    id: str = attrs.field(metadata=_NAME)
    description: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = attrs.field(default=(), metadata=UNIQUE)
    metadata: Mapping[str, Json] = attrs.field(factory=dict)
    experiment_type: ExperimentType = "training"
    model: ModelRef
    dataset: DatasetRef | None = None
    backend: BackendRef
    evaluator: EvaluatorRef | None = None
    training: TrainingSpec | None = None
    pipeline: tuple[StageDef, ...] = ()
    reliability: ReliabilitySpec = ReliabilitySpec()
    deployment: DeploymentSpec | None = None
    feedback: FeedbackSpec | None = None
    outputs: tuple[OutputSpec, ...] = ()
    baseline: str | None = attrs.field(default=None, metadata=_NAME)
    seed: int = 0
    created_at: datetime | None = None

    @rule("training.method", "pipeline[].enabled", "experiment_type")
    def _says_what_to_do(self) -> Iterator[Problem]:
        if self.training is None and self.experiment_type == "training":
            fix = "give one, or set experiment_type to what this is"
            yield Problem(path="training", message="an experiment of the type training needs one", fix=fix)
        elif self.training is None and not any(stage.enabled for stage in self.pipeline):
            message = "there is nothing to do: neither a training nor a stage that is enabled"
            yield Problem(path="pipeline", message=message, fix="give a training, or stages")

    @rule("training.method", "dataset")
    def _has_rows(self) -> Iterator[Problem]:
        if self.dataset is None and self.training is not None and not isinstance(self.training, _WITHOUT_DATASET):
            message = f"training by {self.training.method} needs one"
            yield Problem(path="dataset", message=message, fix="say which rows to train on")

    @rule("training.method", "training.evaluation", "training.held_out", "dataset")
    def _is_measured_on_what_it_was_not_trained_on(self) -> Iterator[Problem]:
        if self.dataset is None or self.training is None or isinstance(self.training, _WITHOUT_DATASET):
            return
        for path, held_out in self.training.held_out_datasets.items():
            if held_out.has_the_rows_of(self.dataset):
                message = "is the training dataset and split"
                yield Problem(path=f"training.{path}", message=message, fix="hold out another split")

    @property
    def models(self) -> Mapping[str, ModelRef]:
        """All models that the backend is asked for, by their paths: the one that is trained, teachers, members of an ensemble."""
        teachers = self.training.teachers if isinstance(self.training, DistillationSpec) else ()
        members = () if self.reliability.ensemble is None else self.reliability.ensemble.models
        return {
            "model": self.model,
            **{f"training.teachers[{place}].model": teacher.model for place, teacher in enumerate(teachers)},
            **{f"reliability.ensemble.models[{place}]": member for place, member in enumerate(members)},
        }

    @rule("model.provider", "backend.id")
    def _the_backend_has_the_model(self) -> Iterator[Problem]:
        yield from self._not_there({"model": self.model})

    @rule("training", "reliability.ensemble", "backend.id")
    def _the_backend_has_the_other_models(self) -> Iterator[Problem]:
        yield from self._not_there({path: model for path, model in self.models.items() if path != "model"})

    def _not_there(self, models: Mapping[str, ModelRef]) -> Iterator[Problem]:
        wrong = {("local", "tinker"), ("tinker", "torch")}
        for path, model in models.items():
            if (model.provider, self.backend.id) in wrong:
                message = (
                    f"a model of the provider {model.provider!r} cannot be used on the backend {self.backend.id!r}"
                )
                fix = "take another provider, or another backend.id"
                yield Problem(path=f"{path}.provider", message=message, fix=fix)

    @rule("baseline", "id", "experiment_type")
    def _is_compared_with_another(self) -> Iterator[Problem]:
        if self.baseline is None and self.experiment_type == "comparison":
            yield Problem(path="baseline", message="a comparison needs one", fix="give the id of another experiment")
        if self.baseline == self.id:
            yield Problem(path="baseline", message="is this experiment itself", fix="give the id of another one")

    @rule("baseline", "reliability.stats")
    def _statistics_compare_with_something(self) -> Iterator[Problem]:
        if self.reliability.stats is not None and self.baseline is None:
            message = "there is nothing to compare with"
            yield Problem(path="reliability.stats", message=message, fix="give the id of an experiment as baseline")

    @rule("outputs[].name")
    def _outputs_have_names_of_their_own(self) -> Iterator[Problem]:
        yield from _repeated("outputs", [output.name for output in self.outputs])

    @rule("training.method", "feedback.thresholds", "feedback.curation")
    def _one_place_says_when_to_train_again(self) -> Iterator[Problem]:
        if isinstance(self.training, FeedbackLoopSpec) and self.feedback is not None:
            for name in ("thresholds", "curation"):
                if getattr(self.feedback, name) is not None:
                    message = f"training.{name} says the same"
                    yield Problem(path=f"feedback.{name}", message=message, fix="leave it out here")


def _repeated(path: str, names: list[str]) -> Iterator[Problem]:
    count = Counter(names)
    for index, name in enumerate(names):
        if index > names.index(name):
            message = f"{name!r} is there {count[name]} times"
            yield Problem(path=f"{path}[{index}].name", message=message, fix="give each a name of its own")
