"""After the training: which version is served, what its users tell, and when to train again."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Json
from crucible.ir.problems import Problem
from crucible.ir.rules import AT_LEAST_0, AT_LEAST_1, FRACTION, NOT_EMPTY, SOME_UNIQUE, rule
from crucible.ir.training import SupervisedSpec

DeploymentStage: TypeAlias = Literal["archived", "development", "production", "staging"]
DeploymentStrategy: TypeAlias = Literal["blue_green", "canary", "recreate", "rolling"]
FeedbackType: TypeAlias = Literal["edit", "score"]
FeedbackStorage: TypeAlias = Literal["noop", "sqlite"]
CurationSource: TypeAlias = Literal["diverse", "hard_example", "high_quality", "user_edit"]
ExportFormat: TypeAlias = Literal["jsonl", "parquet"]


@attrs.frozen(kw_only=True)
class DeploymentSpec:
    """Which registered version of a model is to be served, and how it takes the place of the one before.

    Args:
        id: of the deployment: its feedback is kept under this name.
        model: the name of the line of models in the registry.
        version: of that line; None for the newest.
        stage: what it is for.
        strategy: how it takes over.
        traffic: of `canary`: the share of requests that it gets at first.
        metadata: anything else.
    """

    id: str = attrs.field(metadata=NOT_EMPTY)
    model: str = attrs.field(metadata=NOT_EMPTY)
    version: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    stage: DeploymentStage = "development"
    strategy: DeploymentStrategy = "rolling"
    traffic: float | None = attrs.field(default=None, metadata=FRACTION)
    metadata: Mapping[str, Json] = attrs.field(factory=dict)

    @rule("strategy", "traffic")
    def _a_canary_gets_a_share(self) -> Iterator[Problem]:
        if self.strategy == "canary" and self.traffic is None:
            fix = "give the share of requests that it gets at first, such as 0.05"
            yield Problem(path="traffic", message="a canary needs one", fix=fix)
        if self.strategy != "canary" and self.traffic is not None:
            message = f"is for canary, and the strategy is {self.strategy}"
            yield Problem(path="traffic", message=message, fix="leave it out, or set strategy to canary")


@attrs.frozen(kw_only=True)
class TriggerSpec:
    """When to train again: at which drift, below which quality (0 to 1), from how many new examples on."""

    drift: float = attrs.field(default=0.2, metadata=AT_LEAST_0)
    quality: float = attrs.field(default=0.7, metadata=FRACTION)
    num_examples: int = attrs.field(default=1000, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class CurationSpec:
    """Which examples to choose: at most `limit`, from these sources, with at least this score.

    Those that were trained on before are left out, unless `include_trained`.
    """

    limit: int = attrs.field(default=100, metadata=AT_LEAST_1)
    sources: tuple[CurationSource, ...] = attrs.field(default=("user_edit", "high_quality"), metadata=SOME_UNIQUE)
    min_score: float = attrs.field(default=0.0, metadata=FRACTION)
    include_trained: bool = False


@attrs.frozen(kw_only=True)
class ExportSpec:
    """Where to write the examples that are trained on, and how."""

    path: str = attrs.field(metadata=NOT_EMPTY)
    format: ExportFormat = "jsonl"


@attrs.frozen(kw_only=True)
class FeedbackSpec:
    """What is kept of what users tell about a deployment.

    Args:
        storage: `sqlite` is a file, `noop` keeps nothing and is for rehearsals.
        path: of the file.
        export_folder: where examples are written to; None for the folder of the run.
        sampling_rate: the share of exchanges that are kept.
        feedback_types: what of them: a `score` from 0 to 1, and the user's `edit` of the answer.
        thresholds: when to train again; None where the training says so.
        curation: which examples to choose; None where the training says so.
    """

    storage: FeedbackStorage = "sqlite"
    path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    export_folder: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    sampling_rate: float = attrs.field(default=1.0, metadata=FRACTION)
    feedback_types: tuple[FeedbackType, ...] = attrs.field(default=("score", "edit"), metadata=SOME_UNIQUE)
    thresholds: TriggerSpec | None = None
    curation: CurationSpec | None = None

    @rule("storage", "path")
    def _a_file_has_a_path(self) -> Iterator[Problem]:
        if self.storage == "sqlite" and self.path is None:
            yield Problem(path="path", message="sqlite needs one", fix="give the path of the file")
        if self.storage == "noop" and self.path is not None:
            yield Problem(path="path", message="noop keeps nothing", fix="leave it out, or set storage to sqlite")

    @rule("feedback_types", "curation.sources")
    def _edits_are_kept_where_they_are_chosen(self) -> Iterator[Problem]:
        if self.curation is not None and "user_edit" in self.curation.sources and "edit" not in self.feedback_types:
            message = "chooses user_edit, and edits are not kept"
            yield Problem(path="curation.sources", message=message, fix="add edit to feedback_types")


@attrs.frozen(kw_only=True)
class FeedbackLoopSpec:
    """Training again on what users told, when there is a reason to. The dataset is what the loop exports.

    Args:
        deployment_id: whose feedback to look at.
        export: where to write what is trained on.
        retraining: the supervised run.
        thresholds: when to train again.
        curation: which examples to train on.
        min_examples: fewer curated examples are an error, and nothing is trained.
    """

    method: Literal["feedback_loop"] = attrs.field(default="feedback_loop", init=False)
    deployment_id: str = attrs.field(metadata=NOT_EMPTY)
    export: ExportSpec
    retraining: SupervisedSpec = SupervisedSpec()
    thresholds: TriggerSpec = TriggerSpec()
    curation: CurationSpec = CurationSpec()
    min_examples: int = attrs.field(default=1, metadata=AT_LEAST_1)

    @rule("min_examples", "curation.limit")
    def _as_many_are_chosen_as_are_wanted(self) -> Iterator[Problem]:
        if self.min_examples > self.curation.limit:
            message = f"is {self.min_examples}, but curation.limit is {self.curation.limit}"
            yield Problem(path="min_examples", message=message, fix="lower it, or raise curation.limit")
