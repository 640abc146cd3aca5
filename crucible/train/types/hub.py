"""Repositories of models and datasets."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from crucible.fields import NOT_EMPTY, checked

RepoType: TypeAlias = Literal["model", "dataset", "space"]


@attrs.frozen(kw_only=True, field_transformer=checked)
class HubRepo:
    """Which repository, at which revision (a branch, a tag, a commit; the default branch when None)."""

    id: str = attrs.field(metadata=NOT_EMPTY)
    type: RepoType = "model"
    revision: str | None = None


@attrs.frozen(kw_only=True)
class HubInfo:
    """What a hub says of a repository: the commit that its revision stands for now, and the files of that commit."""

    repo: HubRepo
    commit: str
    files: tuple[str, ...]
    private: bool = False
    tags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class FileSelection:
    """Which files, by shell patterns on their paths in the repository: those allowed, less those ignored.

    No allow pattern at all allows every file. `*` matches across slashes, as on the Hugging Face hub.
    """

    allow: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ModelCard:
    """What is said of a model beside its weights; `model_card_text` writes it as a hub's README.

    Args:
        title: the first heading.
        summary: what the model is for, in Markdown.
        base_model: the hub id, or the path, of the model that was trained.
        data: what it was trained on: hub ids, files or tasks' names.
        configuration: how it was trained, by name.
        metrics: how good it is, by name.
        lineage: what it was made from, the oldest first: checkpoints, runs, commits.
        library: what loads it.
        license: its identifier on the hub, such as `apache-2.0`.
        tags: words to find it by.
    """

    title: str = attrs.field(validator=attrs.validators.min_len(1))
    summary: str = ""
    base_model: str | None = None
    data: tuple[str, ...] = ()
    configuration: Mapping[str, object] = attrs.field(factory=dict)
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    lineage: tuple[str, ...] = ()
    library: str | None = "peft"
    license: str | None = None
    tags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class HubUpload:
    """A folder to put into a repository, which is made when it is not there.

    A `card` becomes the README.md beside the files, in the same commit, in the place of one that the folder may have.
    """

    repo: HubRepo
    folder: str
    message: str
    selection: FileSelection = FileSelection()
    path_in_repo: str = ""
    private: bool = True
    card: ModelCard | None = None


@attrs.frozen(kw_only=True)
class HubCommit:
    """What an upload made: the commit, and where people can look at it."""

    repo: HubRepo
    commit: str
    url: str
