"""`HubClient` on nothing: repositories in memory, and files that it gives written below one local folder."""

import fnmatch
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

from crucible.effects import Failure, Handlers, Result, Success
from crucible.train.errors import InvalidRequest, NotFound, StorageFailed, TrainError
from crucible.train.model_card import README, model_card_text
from crucible.train.ports import HubClient
from crucible.train.types import FileSelection, HubCommit, HubInfo, HubRepo, HubUpload, is_blob_path

Files = Mapping[str, bytes]


def hub(*, repos: Mapping[str, Files] | None = None, cache: Path | str | None = None) -> Handlers[HubClient]:
    """Handle a hub whose repositories live in memory.

    Args:
        repos: files by path, by the id of the model repository that has them.
        cache: the folder for local copies, the same files always under the same path; one in the system's folder for
            temporary files when None.
    """
    folder = Path(cache) if cache is not None else Path(tempfile.gettempdir()) / f"crucible-noop-hub-{os.getuid()}"
    return HubClient.handled_by(_Hub(repos or {}, folder))


@attrs.frozen(kw_only=True)
class _Repo:
    """The commits of a repository, the newest last."""

    commits: tuple[tuple[str, Files], ...]
    private: bool = False
    tags: Mapping[str, str] = attrs.field(factory=dict)


class _Hub(HubClient):
    """A `HubClient` over dicts. A revision is None, `main`, a tag or a commit."""

    def __init__(self, repos: Mapping[str, Files], cache: Path) -> None:
        self._cache = cache
        self._repos = {("model", name): _Repo(commits=((_digest(files), files),)) for name, files in repos.items()}

    async def download(self, repo: HubRepo, path: str) -> Result[str, TrainError]:
        def fetched(found: tuple[str, Files]) -> Result[str, TrainError]:
            if path not in found[1]:
                return Failure(NotFound(kind="file", name=f"{repo.id}/{path}", fix=f"it has {', '.join(found[1])}"))
            return self._copied({path: found[1][path]}).map(lambda folder: str(folder / path))

        return self._find(repo).bind(fetched)

    async def snapshot(self, repo: HubRepo, selection: FileSelection = FileSelection()) -> Result[str, TrainError]:
        return self._find(repo).bind(lambda found: self._copied(_selected(found[1], selection))).map(str)

    async def list_files(self, repo: HubRepo) -> Result[tuple[str, ...], TrainError]:
        return self._find(repo).map(lambda found: tuple(sorted(found[1])))

    async def get_info(self, repo: HubRepo) -> Result[HubInfo, TrainError]:
        def info(found: tuple[str, Files]) -> HubInfo:
            private = self._repos[repo.type, repo.id].private
            return HubInfo(repo=repo, commit=found[0], files=tuple(sorted(found[1])), private=private)

        return self._find(repo).map(info)

    async def upload_folder(self, upload: HubUpload) -> Result[HubCommit, TrainError]:
        return _files_below(Path(upload.folder)).map(lambda local: self._committed(upload, local))

    async def create_tag(self, repo: HubRepo, tag: str) -> Result[None, TrainError]:
        def tagged(found: tuple[str, Files]) -> Result[None, TrainError]:
            there = self._repos[repo.type, repo.id]
            if there.tags.get(tag, found[0]) != found[0]:
                return Failure(
                    InvalidRequest(message=f"{repo.id} has a tag {tag!r} already", fix="choose another name")
                )
            self._repos[repo.type, repo.id] = attrs.evolve(there, tags={**there.tags, tag: found[0]})
            return Success(None)

        return self._find(repo).bind(tagged)

    def _committed(self, upload: HubUpload, local: Files) -> HubCommit:
        repo = upload.repo
        prefix = f"{upload.path_in_repo}/" if upload.path_in_repo else ""
        added = {f"{prefix}{path}": data for path, data in _selected(local, upload.selection).items()}
        if upload.card is not None:
            added[f"{prefix}{README}"] = model_card_text(upload.card).encode()
        there = self._repos.get((repo.type, repo.id), _Repo(commits=(), private=upload.private))
        newest = there.commits[-1][1] if there.commits else {}
        files = {**newest, **added}
        commit = _digest(files)
        if not there.commits or commit != there.commits[-1][0]:
            self._repos[repo.type, repo.id] = attrs.evolve(there, commits=(*there.commits, (commit, files)))
        return HubCommit(repo=repo, commit=commit, url=f"noop://hub/{repo.type}/{repo.id}/{commit}")

    def _find(self, repo: HubRepo) -> Result[tuple[str, Files], TrainError]:
        """Give the commit and the files of a revision."""
        there = self._repos.get((repo.type, repo.id))
        if there is None:
            return Failure(NotFound(kind=repo.type, name=repo.id, fix="upload it first, or give noop.hub its files"))
        for commit, files in reversed(there.commits):
            if there.tags.get(repo.revision or "", repo.revision) in {None, "main", commit}:
                return Success((commit, files))
        return Failure(NotFound(kind="revision", name=f"{repo.id}@{repo.revision}", fix="use main, a tag or a commit"))

    def _copied(self, files: Files) -> Result[Path, TrainError]:
        """Write files below the cache, where their content says, and give their folder."""
        folder = self._cache / _digest(files)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, data in files.items():
                _write_whole(folder / path, data)
        except OSError as error:
            return Failure(StorageFailed(path=str(folder), message=str(error)))
        return Success(folder)


def _files_below(folder: Path) -> Result[Files, TrainError]:
    if not folder.is_dir():
        return Failure(NotFound(kind="folder", name=str(folder), fix="give a folder that exists"))
    try:
        return Success({p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    except OSError as error:
        return Failure(StorageFailed(path=str(folder), message=str(error)))


def _selected(files: Files, selection: FileSelection) -> Files:
    allow = selection.allow or ("*",)
    return {
        path: data
        for path, data in files.items()
        if is_blob_path(path)
        and any(fnmatch.fnmatchcase(path, pattern) for pattern in allow)
        and not any(fnmatch.fnmatchcase(path, pattern) for pattern in selection.ignore)
    }


def _digest(files: Files) -> str:
    parts = (f"{path}\0{hashlib.sha256(data).hexdigest()}\n" for path, data in sorted(files.items()))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:40]


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)
