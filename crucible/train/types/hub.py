"""Repositories of models and datasets."""

from typing import Literal, TypeAlias

import attrs

RepoType: TypeAlias = Literal["model", "dataset", "space"]


@attrs.frozen(kw_only=True)
class HubRepo:
    """Which repository, at which revision (a branch, a tag, a commit; the default branch when None)."""

    id: str = attrs.field(validator=attrs.validators.min_len(1))
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
class HubUpload:
    """A folder to put into a repository, which is made when it is not there."""

    repo: HubRepo
    folder: str
    message: str
    selection: FileSelection = FileSelection()
    path_in_repo: str = ""
    private: bool = True


@attrs.frozen(kw_only=True)
class HubCommit:
    """What an upload made: the commit, and where people can look at it."""

    repo: HubRepo
    commit: str
    url: str
