"""What an experiment refers to: models, datasets, backends, evaluators, stages, and what is written of its results."""

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.effects import Json
from crucible.ir.problems import Problem
from crucible.ir.rules import AT_LEAST_1, NOT_EMPTY, SOME_UNIQUE, Limits, rule, within

ModelProvider: TypeAlias = Literal["huggingface", "local", "tinker"]
DatasetProvider: TypeAlias = Literal["file", "huggingface", "reasoning_gym"]
BackendName: TypeAlias = Literal["noop", "tinker", "torch"]
EvaluatorProvider: TypeAlias = Literal["math", "reasoning_gym", "scorers"]
OutputFormat: TypeAlias = Literal["csv", "html", "json", "markdown", "parquet"]
OutputSink: TypeAlias = Literal["file", "stdout"]

_FILE_NAME = within(Limits(min_length=1, pattern=r"[^/\\\x00-\x1f]+"))


@attrs.frozen(kw_only=True)
class ModelRef:
    """A base model.

    Args:
        id: a hub id, a local directory or `.gguf` file, or a name that the Tinker server knows.
        provider: where `id` is looked up.
        revision: commit, branch or tag on the hub; None for the newest.
        options: anything else that the handler takes.
    """

    id: str = attrs.field(metadata=NOT_EMPTY)
    provider: ModelProvider = "huggingface"
    revision: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    options: Mapping[str, Json] = attrs.field(factory=dict)

    @rule("provider", "revision")
    def _only_the_hub_has_revisions(self) -> Iterator[Problem]:
        if self.revision is not None and self.provider != "huggingface":
            message = f"a model of the provider {self.provider!r} has no revisions"
            yield Problem(path="revision", message=message, fix="leave it out, or take the model from huggingface")


@attrs.frozen(kw_only=True)
class DatasetRef:
    """Rows to read.

    Args:
        name: a hub id, the path of a file, or the name of a reasoning-gym task.
        provider: where `name` is looked up.
        split: which part of it.
        config: which configuration of a hub dataset.
        revision: commit, branch or tag on the hub; None for the newest.
        streaming: read the rows as they are needed.
        options: what the provider takes: the settings of a reasoning-gym task, the names of columns.
        num_rows: the first so many rows; None for all.
    """

    name: str = attrs.field(metadata=NOT_EMPTY)
    provider: DatasetProvider = "huggingface"
    split: str = attrs.field(default="train", metadata=NOT_EMPTY)
    config: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    revision: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    streaming: bool = False
    options: Mapping[str, Json] = attrs.field(factory=dict)
    num_rows: int | None = attrs.field(default=None, metadata=AT_LEAST_1)

    @rule("provider", "config", "revision")
    def _only_the_hub_has_configurations_and_revisions(self) -> Iterator[Problem]:
        if self.provider != "huggingface":
            for name in ("config", "revision"):
                if getattr(self, name) is not None:
                    message = f"a dataset of the provider {self.provider!r} has no {name}"
                    yield Problem(path=name, message=message, fix="leave it out")

    def has_the_rows_of(self, other: "DatasetRef") -> bool:
        """Tell whether both read the same rows, or one of them the first rows of the other, as far as the refs say.

        >>> DatasetRef(name="d", num_rows=5).has_the_rows_of(DatasetRef(name="d", streaming=True))
        True
        """
        return self._source() == other._source()

    def _source(self) -> "DatasetRef":
        """Give what says which rows there are, without how many of them are read."""
        draws = self.provider == "reasoning_gym"
        options = {name: value for name, value in self.options.items() if not (draws and name == "size")}
        return attrs.evolve(self, streaming=False, num_rows=None, options=options)


@attrs.frozen(kw_only=True)
class BackendRef:
    """Where models are trained and sampled from.

    Args:
        id: `noop` computes nothing and is for rehearsals, `torch` is this machine, `tinker` a Tinker server.
        options: what the handler is made with (`dtype`, `num_threads`; `base_url`, `request_seconds`).
        fallback: which one to take where this one cannot be used.
    """

    id: BackendName
    options: Mapping[str, Json] = attrs.field(factory=dict)
    fallback: "BackendRef | None" = None

    @rule("options")
    def _no_secrets(self) -> Iterator[Problem]:
        if "api_key" in self.options:
            message = "a key does not belong in a file that is kept and shared"
            yield Problem(path="options.api_key", message=message, fix="set the variable TINKER_API_KEY instead")

    @rule("id", "fallback")
    def _falls_back_on_others(self) -> Iterator[Problem]:
        path, other = "fallback", self.fallback
        while other is not None and other.id != self.id:
            path, other = f"{path}.fallback", other.fallback
        if other is not None:
            message = f"comes back to {self.id!r}, which could not be used"
            yield Problem(path=f"{path}.id", message=message, fix="name another backend, or leave the fallback out")


@attrs.frozen(kw_only=True)
class EvaluatorRef:
    """Who judges answers, in evaluations and as the reward of reinforcement learning.

    Args:
        provider: `reasoning_gym` is the verifier of the task, `math` compares by math-verify, `scorers` compares texts.
        options: what the handler is made with (`score` of `scorers`, `seconds` of `math`).
    """

    provider: EvaluatorProvider
    options: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class StageDef:
    """A stage of a pipeline, by its name; one that is not enabled is left out. A pipeline may name a stage several times."""

    name: str = attrs.field(metadata=NOT_EMPTY)
    options: Mapping[str, Json] = attrs.field(factory=dict)
    enabled: bool = True


@attrs.frozen(kw_only=True)
class OutputSpec:
    """What is written of the results.

    Args:
        name: of this output, and of its files; which folder they go to is for `path` to say.
        formats: each makes a file, or a part of what is printed.
        sink: a file, or the standard output.
        path: of the folder that the files go to; None for that of the run.
        options: what the writer takes.
    """

    name: str = attrs.field(metadata=_FILE_NAME)
    formats: tuple[OutputFormat, ...] = attrs.field(default=("markdown",), metadata=SOME_UNIQUE)
    sink: OutputSink = "file"
    path: str | None = attrs.field(default=None, metadata=NOT_EMPTY)
    options: Mapping[str, Json] = attrs.field(factory=dict)

    @rule("sink", "path")
    def _only_files_have_a_path(self) -> Iterator[Problem]:
        if self.sink == "stdout" and self.path is not None:
            yield Problem(path="path", message="what is printed has no path", fix="leave it out, or use sink: file")

    @rule("sink", "formats")
    def _only_text_is_printed(self) -> Iterator[Problem]:
        if self.sink == "stdout" and "parquet" in self.formats:
            yield Problem(path="formats", message="parquet cannot be printed", fix="use sink: file, or csv")
