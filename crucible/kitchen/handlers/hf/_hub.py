"""`HubClient` on `huggingface_hub`."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from crucible.effects import Result
from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._errors import Refused, attempted
from crucible.kitchen.handlers.hf._session import api_of
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.model_card import README, model_card_text
from crucible.train.ports import HubClient
from crucible.train.types import FileSelection, HubCommit, HubInfo, HubRepo, HubUpload

if TYPE_CHECKING:
    from collections.abc import Callable

    from huggingface_hub import CommitOperationAdd, HfApi

A = TypeVar("A")


class HfHub(HubClient):
    """A `HubClient` that holds no state but its configuration: the SDK keeps the cache."""

    def __init__(self, config: HfConfig) -> None:
        self._config = config

    async def download(self, repo: HubRepo, path: str) -> Result[str, TrainError]:
        def downloaded(api: "HfApi") -> str:
            return str(
                api.hf_hub_download(
                    repo.id, path, repo_type=repo.type, revision=repo.revision, cache_dir=hub_cache(self._config)
                )
            )

        return await self._on(repo, downloaded, path)

    async def snapshot(self, repo: HubRepo, selection: FileSelection = FileSelection()) -> Result[str, TrainError]:
        def fetched(api: "HfApi") -> str:
            return str(
                api.snapshot_download(
                    repo.id,
                    repo_type=repo.type,
                    revision=repo.revision,
                    cache_dir=hub_cache(self._config),
                    allow_patterns=list(selection.allow) or None,
                    ignore_patterns=list(selection.ignore) or None,
                )
            )

        return await self._on(repo, fetched)

    async def list_files(self, repo: HubRepo) -> Result[tuple[str, ...], TrainError]:
        return (await self.get_info(repo)).map(lambda info: info.files)

    async def get_info(self, repo: HubRepo) -> Result[HubInfo, TrainError]:
        return await self._on(repo, lambda api: info_of(api, repo))

    async def upload_folder(self, upload: HubUpload) -> Result[HubCommit, TrainError]:
        return await self._on(upload.repo, lambda api: _uploaded(api, upload))

    async def create_tag(self, repo: HubRepo, tag: str) -> Result[None, TrainError]:
        def tagged(api: "HfApi") -> None:
            commit = info_of(api, repo).commit
            api.create_tag(repo.id, tag=tag, revision=commit, repo_type=repo.type, exist_ok=True)
            if info_of(api, attrs.evolve(repo, revision=tag)).commit != commit:
                raise Refused(InvalidRequest(message=f"{repo.id} has a tag {tag!r} already", fix="choose another name"))

        return await self._on(repo, tagged)

    async def _on(self, repo: HubRepo, work: "Callable[[HfApi], A]", path: str = "") -> Result[A, TrainError]:
        config = self._config
        return await attempted(lambda: work(api_of(config)), about=named(repo, path), token=config.token)


def hub_cache(config: HfConfig) -> Path | None:
    """Give the folder for the hub's files; None for the SDK's own."""
    return None if config.cache is None else Path(config.cache) / "hub"


def named(repo: HubRepo, path: str = "") -> str:
    """Name a repository, or a file in it, as people write it.

    >>> named(HubRepo(id="org/data", type="dataset", revision="v1"), "a.csv")
    'datasets/org/data@v1/a.csv'
    """
    prefix = "" if repo.type == "model" else f"{repo.type}s/"
    return f"{prefix}{repo.id}{f'@{repo.revision}' if repo.revision else ''}{f'/{path}' if path else ''}"


def info_of(api: "HfApi", repo: HubRepo) -> HubInfo:
    """Ask the hub which commit a revision stands for, and what is in it."""
    said = api.repo_info(repo.id, repo_type=repo.type, revision=repo.revision)
    files = tuple(sorted(file.rfilename for file in getattr(said, "siblings", None) or ()))
    tags = tuple(getattr(said, "tags", None) or ())
    return HubInfo(repo=repo, commit=str(said.sha), files=files, private=bool(said.private), tags=tags)


def _uploaded(api: "HfApi", upload: HubUpload) -> HubCommit:
    """Put the files and the card into a repository, in one commit."""
    repo = upload.repo
    operations = _operations(upload)
    sdk = "static" if repo.type == "space" else None
    api.create_repo(repo.id, repo_type=repo.type, private=upload.private, exist_ok=True, space_sdk=sdk)
    if repo.revision not in {None, "main"}:
        api.create_branch(repo.id, branch=str(repo.revision), repo_type=repo.type, exist_ok=True)
    made = api.create_commit(
        repo.id,
        operations=operations,
        commit_message=upload.message or "Upload",
        repo_type=repo.type,
        revision=repo.revision,
    )
    return HubCommit(repo=repo, commit=made.oid, url=made.commit_url)


def _operations(upload: HubUpload) -> "list[CommitOperationAdd]":
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # exported when it is run

    folder = Path(upload.folder)
    if not folder.is_dir():
        raise Refused(NotFound(kind="folder", name=str(folder), fix="give a folder that exists"))
    prefix = f"{upload.path_in_repo.strip('/')}/" if upload.path_in_repo else ""
    here = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    chosen = filter_repo_objects(
        (path for path in here if not path.startswith((".git/", ".cache/huggingface/"))),
        allow_patterns=list(upload.selection.allow) or None,
        ignore_patterns=list(upload.selection.ignore) or None,
    )
    found: dict[str, Path | bytes] = {f"{prefix}{path}": folder / path for path in chosen}
    if upload.card is not None:
        found[f"{prefix}{README}"] = model_card_text(upload.card).encode()
    if not found:
        raise Refused(InvalidRequest(message=f"{folder} has no file to upload", fix="check folder and selection"))
    return [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in found.items()]
