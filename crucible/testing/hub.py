"""The contract of `HubClient`, as a suite that any handler can be put through."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import obey, refused, require, require_equal
from crucible.train.errors import AccessDenied, InvalidRequest, NotFound, TrainError
from crucible.train.ports import HubClient
from crucible.train.types import FileSelection, HubRepo, HubUpload, ModelCard

Law: TypeAlias = Do[TrainError, HubClient, None]


def check_hub_client(
    make: Callable[[], Handlers[HubClient]], *, repo: HubRepo, upload_to: Callable[[], HubRepo] | None = None
) -> None:
    """Put the handlers that `make` gives through the contract of `HubClient`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        repo: one of at least two small files.
        upload_to: gives a repository that is not there yet and may be made, another one each time; uploads are not tried
            without it.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "the files of a repository are listed": _listing(repo),
        "what is downloaded is a local file, the same in a snapshot": _downloading(repo),
        "a snapshot holds the files that are allowed and not ignored": _selecting(repo),
        "what is not there is not found": _missing(repo),
    }
    obey(make, laws)
    if upload_to is not None:
        with tempfile.TemporaryDirectory() as folder:
            obey(make, {"what is uploaded can be downloaded, commit by commit": _uploading(upload_to(), Path(folder))})
        with tempfile.TemporaryDirectory() as folder:
            obey(
                make, {"an upload is private, carries its card, and can be tagged": _naming(upload_to(), Path(folder))}
            )


@do
def _listing(repo: HubRepo) -> Law:
    files = yield from perform(HubClient.list_files, repo)
    require(len(files) > 1 and list(files) == sorted(set(files)), f"the files are not two or more, sorted: {files}")
    info = yield from perform(HubClient.get_info, repo)
    require_equal((info.repo, tuple(sorted(info.files))), (repo, files), "the repository's own account")
    pinned = attrs.evolve(repo, revision=info.commit)
    require_equal((yield from perform(HubClient.list_files, pinned)), files, "the files of the commit")


@do
def _downloading(repo: HubRepo) -> Law:
    folder = yield from perform(HubClient.snapshot, repo)
    files = yield from perform(HubClient.list_files, repo)
    require_equal(tuple(_contents(folder)), files, "the files of the snapshot")
    for path in files[:2]:
        local = yield from perform(HubClient.download, repo, path)
        again = yield from perform(HubClient.download, repo, path)
        require(Path(local).name == Path(path).name, f"{path} was downloaded to {local}")
        require_equal(Path(again).read_bytes(), Path(local).read_bytes(), f"{path} downloaded again")
        require_equal(Path(local).read_bytes(), _contents(folder)[path], f"{path} downloaded")


@do
def _selecting(repo: HubRepo) -> Law:
    first, *others = yield from perform(HubClient.list_files, repo)
    chosen = yield from perform(HubClient.snapshot, repo, FileSelection(allow=(first,)))
    require_equal(list(_contents(chosen)), [first], "the one file that is allowed")
    rest = yield from perform(HubClient.snapshot, repo, FileSelection(ignore=(first,)))
    require(set(others) <= set(_contents(rest)), f"a snapshot less {first} holds {list(_contents(rest))}")
    extension = f"*{Path(first).suffix}"
    same = yield from perform(HubClient.snapshot, repo, FileSelection(allow=(extension,), ignore=("*",)))
    require(Path(same).is_dir(), f"{same} is no folder")


@do
def _missing(repo: HubRepo) -> Law:
    # A hub does not tell strangers whether a private repository exists: either error may come.
    stranger = attrs.evolve(repo, id=f"{repo.id}-that-is-not-there")
    for what, use in {
        "a repository that is not there": perform(HubClient.list_files, stranger),
        "its description": perform(HubClient.get_info, stranger),
        "its snapshot": perform(HubClient.snapshot, stranger),
        "its file": perform(HubClient.download, stranger, "x"),
    }.items():
        yield from refused(what, use, NotFound, AccessDenied)
    yield from refused("a file that is not there", perform(HubClient.download, repo, "no/such.file"), NotFound)
    odd = attrs.evolve(repo, revision="no-such-revision")
    yield from refused("a revision that is not there", perform(HubClient.list_files, odd), NotFound)


@do
def _uploading(repo: HubRepo, folder: Path) -> Law:
    (folder / "sub").mkdir()
    (folder / "a.txt").write_bytes(b"one")
    (folder / "sub" / "b.bin").write_bytes(b"\0two")
    (folder / "left-out.tmp").write_bytes(b"three")
    upload = HubUpload(repo=repo, folder=str(folder), message="first", selection=FileSelection(ignore=("*.tmp",)))
    first = yield from perform(HubClient.upload_folder, upload)
    again = yield from perform(HubClient.upload_folder, upload)
    require_equal(again.commit, first.commit, "the commit of the same upload again")
    snapshot = yield from perform(HubClient.snapshot, repo)
    wanted = {"a.txt": b"one", "sub/b.bin": b"\0two"}
    require(wanted.items() <= _contents(snapshot).items(), f"the repository has {_contents(snapshot)}")
    require("left-out.tmp" not in _contents(snapshot), "an ignored file was uploaded")
    (folder / "a.txt").write_bytes(b"changed")
    second = yield from perform(HubClient.upload_folder, attrs.evolve(upload, path_in_repo="deep"))
    require(second.commit != first.commit, "a changed upload has the commit of the first")
    newest, oldest = repo, attrs.evolve(repo, revision=first.commit)
    found = yield from perform(HubClient.list_files, newest)
    require({"a.txt", "deep/a.txt", "deep/sub/b.bin"} <= set(found), f"the newest files are {found}")
    old = yield from perform(HubClient.download, oldest, "a.txt")
    require_equal(Path(old).read_bytes(), b"one", "the file of the first commit")
    nowhere = attrs.evolve(upload, folder=str(folder / "nowhere"))
    yield from refused("uploading a folder that is not there", perform(HubClient.upload_folder, nowhere), NotFound)


@do
def _naming(repo: HubRepo, folder: Path) -> Law:
    (folder / "README.md").write_text("# A template")
    card = ModelCard(
        title="Adder", data=("sums",), configuration={"rank": 8}, metrics={"accuracy": 0.5}, lineage=("a",)
    )
    upload = HubUpload(repo=repo, folder=str(folder), message="first", card=card)
    first = yield from perform(HubClient.upload_folder, upload)
    info = yield from perform(HubClient.get_info, repo)
    require(info.private, "what was uploaded is public, though that was not asked for")
    readme = Path((yield from perform(HubClient.download, repo, "README.md"))).read_text()
    require(all(part in readme for part in ("Adder", "sums", "rank", "accuracy")), f"the card says {readme!r}")
    for _ in range(2):
        yield from perform(HubClient.create_tag, repo, "v1")
    (folder / "new.txt").write_text("new")
    yield from perform(HubClient.upload_folder, upload)
    tagged = yield from perform(HubClient.get_info, attrs.evolve(repo, revision="v1"))
    require_equal(tagged.commit, first.commit, "the commit of the tag")
    yield from refused("a tag that another commit has", perform(HubClient.create_tag, repo, "v1"), InvalidRequest)
    odd = perform(HubClient.create_tag, attrs.evolve(repo, revision="no-such-revision"), "v2")
    yield from refused("tagging a revision that is not there", odd, NotFound)


def _contents(folder: str) -> Mapping[str, bytes]:
    """Read the files below a folder; a hub's own hidden files do not count."""
    root = Path(folder)
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return {path: (root / path).read_bytes() for path in paths if not path.startswith(".cache/")}
