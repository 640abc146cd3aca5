"""Every place of blobs keeps the contract of `BlobStore`."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Do, do, perform
from crucible.kitchen.handlers import blobs
from crucible.testing import check_blob_store
from crucible.train.errors import TrainError
from crucible.train.ports import BlobStore
from crucible.train.types import is_blob_path

odd_parts = st.text(st.sampled_from("ab.?*[]%# +é~"), min_size=1, max_size=4)
odd_paths = st.lists(odd_parts, min_size=1, max_size=3).map("/".join).filter(is_blob_path)


def test_in_a_folder(tmp_path: Path) -> None:
    check_blob_store(lambda: blobs.folder(tmp_path / "not" / "made"))


def test_in_memory() -> None:
    shared = blobs.memory()
    check_blob_store(lambda: shared)


@do
def _each_is_found_under_its_path(paths: list[str]) -> Do[TrainError, BlobStore, None]:
    wanted: dict[str, bytes] = {}
    for path in paths:
        if not any(
            f"{a}/".startswith(f"{b}/") for other in wanted for a, b in ((path, other), (other, path)) if a != b
        ):
            wanted[path] = path.encode()
            yield from perform(BlobStore.write, path, path.encode())
    for prefix in {"", *(path[:cut] for path in wanted for cut in range(len(path) + 1))}:
        found = yield from perform(BlobStore.list_blobs, prefix)
        assert [info.path for info in found] == sorted(path for path in wanted if path.startswith(prefix))
    for path, data in wanted.items():
        assert (yield from perform(BlobStore.read, path)) == data
        yield from perform(BlobStore.delete, path)
    assert (yield from perform(BlobStore.list_blobs)) == ()


@given(st.lists(odd_paths, max_size=4))
def test_odd_names_are_kept_in_memory(paths: list[str]) -> None:
    blobs.memory().run(_each_is_found_under_its_path(paths)).unwrap()


def test_odd_names_are_kept_in_a_folder(tmp_path: Path) -> None:
    @given(st.lists(odd_paths, max_size=4))
    def kept(paths: list[str]) -> None:
        blobs.folder(tmp_path / "blobs").run(_each_is_found_under_its_path(paths)).unwrap()

    kept()
