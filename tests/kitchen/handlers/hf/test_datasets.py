"""Datasets in files here and on a hub: the same rows whatever the format, fetched once, of the commit that was found first."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.effects import Handlers, decode, encode, perform
from crucible.kitchen.handlers import hf
from crucible.testing import check_dataset_store
from crucible.train.errors import (
    AccessDenied,
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NotFound,
    StorageFailed,
    TrainError,
    Unavailable,
    Unsupported,
)
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row
from tests.kitchen.handlers.hf.conftest import ROWS, lines
from tests.kitchen.handlers.hf.hub_server import HubSite
from tests.kitchen.handlers.hf.servers import of_json

HUB = DatasetConfig(name="org/data")


def load(handlers: Handlers[DatasetStore], config: DatasetConfig) -> Dataset:
    return handlers.run(perform(DatasetStore.load_dataset, config)).unwrap()


def read(handlers: Handlers[DatasetStore], config: DatasetConfig) -> tuple[Row, ...]:
    return handlers.run(perform(DatasetStore.read_rows, load(handlers, config))).unwrap()


def failure(handlers: Handlers[DatasetStore], config: DatasetConfig) -> TrainError:
    return handlers.run(perform(DatasetStore.load_dataset, config)).failure()


def table() -> datasets.Dataset:
    return datasets.Dataset.from_list(ROWS)


def save_jsonl(folder: Path) -> Path:
    (folder / "rows.jsonl").write_bytes(lines(ROWS))
    return folder / "rows.jsonl"


def save_parquet(folder: Path) -> Path:
    table().to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def save_arrow(folder: Path) -> Path:
    with datasets.arrow_writer.ArrowWriter(path=str(folder / "rows.arrow"), features=table().features) as writer:
        for row in ROWS:
            writer.write(row)
        writer.finalize()
    return folder / "rows.arrow"


def save_dict(folder: Path) -> Path:
    datasets.DatasetDict({"train": table(), "test": table().select(range(3))}).save_to_disk(folder / "saved")
    return folder / "saved"


def save_dataset(folder: Path) -> Path:
    table().save_to_disk(folder / "saved")
    return folder / "saved"


def save_folder(folder: Path) -> Path:
    (folder / "data").mkdir()
    for part in range(3):
        (folder / "data" / f"train-{part}.jsonl").write_bytes(lines(ROWS[8 * part : 8 * part + 8]))
    (folder / "data" / "test.jsonl").write_bytes(lines(ROWS[:3]))
    return folder / "data"


FORMATS = [save_jsonl, save_parquet, save_arrow, save_dict, save_dataset, save_folder]


@pytest.fixture
def here(tmp_path: Path) -> Handlers[DatasetStore]:
    return hf.datasets(hf.HfConfig(cache=tmp_path / "cache"))


@pytest.fixture(scope="module", params=[save_folder, save_dataset])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(request.param(tmp_path_factory.mktemp("rows")))


@pytest.mark.parametrize("save", [save_jsonl, save_dict, save_folder])
def test_the_contract_here(here: Handlers[DatasetStore], tmp_path: Path, save: Callable[[Path], Path]) -> None:
    other = None if save is save_jsonl else "test"
    name = str(save(tmp_path))
    check_dataset_store(lambda: here, config=DatasetConfig(name=name), other_split=other, missing=f"{name}.none")


def test_the_contract_on_a_hub(config: hf.HfConfig) -> None:
    check_dataset_store(lambda: hf.datasets(config), config=HUB, other_split="test", missing="org/nothing")


class TestFilesHere:
    @pytest.mark.parametrize("save", FORMATS)
    @pytest.mark.parametrize("streaming", [False, True])
    def test_of_each_format_hold_the_same_rows(
        self, here: Handlers[DatasetStore], tmp_path: Path, save: Callable[[Path], Path], streaming: bool
    ) -> None:
        rows = read(here, DatasetConfig(name=str(save(tmp_path)), streaming=streaming))
        assert list(rows) == ROWS
        assert decode(encode(rows)) == rows

    @pytest.mark.parametrize(("ending", "divider"), [("csv", ","), ("tsv", "\t")])
    def test_of_numbers_and_text(self, here: Handlers[DatasetStore], tmp_path: Path, ending: str, divider: str) -> None:
        (tmp_path / f"rows.{ending}").write_text(f"n{divider}text\n1{divider}one\n2{divider}two\n")
        assert read(here, DatasetConfig(name=str(tmp_path / f"rows.{ending}")))[1] == {"n": 2, "text": "two"}

    def test_of_plain_text_are_read_line_by_line(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        (tmp_path / "rows.txt").write_text("one\ntwo\n")
        assert read(here, DatasetConfig(name=str(tmp_path / "rows.txt"))) == ({"text": "one"}, {"text": "two"})

    def test_that_are_packed_are_unpacked(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines(ROWS)))
        assert list(read(here, DatasetConfig(name=str(tmp_path / "rows.jsonl.gz")))) == ROWS

    def test_that_changed_are_read_anew(self, tmp_path: Path) -> None:
        name = str(save_jsonl(tmp_path))
        config = hf.HfConfig(cache=tmp_path / "cache")
        assert len(read(hf.datasets(config), DatasetConfig(name=name))) == 24
        Path(name).write_bytes(lines([*ROWS, {"n": 24, "messages": []}]))
        assert len(read(hf.datasets(config), DatasetConfig(name=name))) == 25

    def test_are_divided_as_the_readme_says(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        readme = """---
configs:
- config_name: first
  data_files: a/*.csv
  sep: ";"
- config_name: second
  data_files:
  - split: train
    path: b.csv
---
"""
        (tmp_path / "README.md").write_text(readme)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "x.csv").write_text("n;m\n1;2\n")
        (tmp_path / "b.csv").write_text("n,m\n3,4\n")
        named = DatasetConfig(name=str(tmp_path), config="first")
        assert read(here, named) == ({"n": 1, "m": 2},)
        assert read(here, attrs.evolve(named, config="second")) == ({"n": 3, "m": 4},)
        for unknown in (None, "third"):
            error = failure(here, attrs.evolve(named, config=unknown))
            assert isinstance(error, NotFound)
            assert "second" in str(error)

    def test_can_be_chosen_by_pattern(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        folder = str(save_folder(tmp_path))
        chosen = DatasetConfig(name=folder, split="held", options={"data_files": {"held": "train-[12].jsonl"}})
        assert [row["n"] for row in read(here, chosen)] == list(range(8, 24))

    def test_with_images_give_their_bytes(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        image = {"bytes": b"\x89PNG", "path": None}
        features = datasets.Features({"image": datasets.Image(decode=False)})
        rows = datasets.Dataset.from_dict({"image": [image]}, features=features)
        rows.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
        for streaming in (False, True):
            assert read(here, DatasetConfig(name=str(tmp_path / "saved"), streaming=streaming)) == ({"image": image},)

    @pytest.mark.anyio
    async def test_are_read_on_either_event_loop(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        dataset = (
            await here.arun(perform(DatasetStore.load_dataset, DatasetConfig(name=str(save_jsonl(tmp_path)))))
        ).unwrap()
        assert len((await here.arun(perform(DatasetStore.read_rows, dataset, count=5))).unwrap()) == 5


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["nowhere.jsonl", "/no/such/folder", "a/b/c", "~no-such-user/x", "~/no-such-file"])
    def test_a_name_of_nothing(self, here: Handlers[DatasetStore], name: str) -> None:
        assert isinstance(failure(here, DatasetConfig(name=name)), NotFound)

    @pytest.mark.parametrize("name", ["rows.pkl", "rows.bin"])
    def test_a_file_of_another_kind(self, here: Handlers[DatasetStore], tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        error = failure(here, DatasetConfig(name=str(tmp_path / name)))
        assert isinstance(error, Unsupported)
        assert ".jsonl" in str(error)

    @pytest.mark.parametrize("files", [("data.py", "x.jsonl"), ("x.xml",), ("x.png",)])
    def test_a_folder_that_is_a_program_or_holds_no_rows(
        self, here: Handlers[DatasetStore], tmp_path: Path, files: tuple[str, ...]
    ) -> None:
        (tmp_path / "data").mkdir()
        for file in files:
            (tmp_path / "data" / file).write_text("raise SystemExit")
        assert isinstance(failure(here, DatasetConfig(name=str(tmp_path / "data"))), Unsupported)

    def test_an_empty_folder(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        assert isinstance(failure(here, DatasetConfig(name=str(tmp_path))), NotFound)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_a_file_that_is_broken(self, here: Handlers[DatasetStore], tmp_path: Path, streaming: bool) -> None:
        (tmp_path / "rows.jsonl").write_text('{"n": 1}\n{"n": ')
        config = DatasetConfig(name=str(tmp_path / "rows.jsonl"), streaming=streaming)
        reading = perform(DatasetStore.load_dataset, config).bind(lambda data: perform(DatasetStore.read_rows, data))
        error = here.run(reading).failure()
        assert isinstance(error, StorageFailed)
        assert error.path.endswith("rows.jsonl")

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"data_file": "x"}, "did you mean 'data_files'"),
            ({"zzz": 1}, "known:"),
            ({"shuffle_buffer": 0}, "from 1 on"),
        ],
    )
    def test_an_option_that_nobody_reads(
        self, here: Handlers[DatasetStore], tmp_path: Path, options: dict[str, object], says: str
    ) -> None:
        error = failure(here, DatasetConfig(name=str(save_jsonl(tmp_path)), options=options))
        assert isinstance(error, InvalidRequest)
        assert says in str(error)

    def test_options_that_cannot_be_written_down(self, here: Handlers[DatasetStore]) -> None:
        assert isinstance(failure(here, DatasetConfig(name="x", options={"data_files": object()})), InvalidRequest)

    @pytest.mark.parametrize("missing", ["datasets", "huggingface_hub"])
    def test_everything_without_the_extra(
        self, here: Handlers[DatasetStore], monkeypatch: pytest.MonkeyPatch, missing: str
    ) -> None:
        monkeypatch.setitem(sys.modules, missing, None)
        assert failure(here, DatasetConfig(name="x")) == MissingExtra(extra="hf", package=missing)


class TestAHub:
    def test_is_asked_for_nothing_twice_and_nothing_more(self, site: HubSite, config: hf.HfConfig) -> None:
        for _ in range(2):
            assert list(read(hf.datasets(config), HUB)) == ROWS
        fetched = [asked.path.rpartition("/")[2] for asked in site.requests("GET", "/resolve/")]
        assert sorted(fetched) == ["README.md", "train-0.jsonl", "train-1.jsonl", "train-2.jsonl"]

    def test_is_asked_for_one_file_after_the_other_by_a_stream(self, site: HubSite, config: hf.HfConfig) -> None:
        handlers = hf.datasets(config)
        stream = load(handlers, attrs.evolve(HUB, streaming=True))
        first = handlers.run(perform(DatasetStore.read_batch, stream, 10)).unwrap()
        assert [row["n"] for row in first.rows] == list(range(10))
        assert len(site.requests("GET", "train-")) == 2
        later = hf.datasets(attrs.evolve(config, cache=Path(str(config.cache)) / "other"))
        rest = later.run(perform(DatasetStore.read_batch, stream, 10, after=first.position)).unwrap()
        assert [row["n"] for row in rest.rows] == list(range(10, 20))
        again = [asked.path.rpartition("/")[2] for asked in site.requests("GET", "train-")[2:]]
        assert again == ["train-1.jsonl", "train-2.jsonl"]

    @pytest.mark.parametrize("streaming", [False, True])
    def test_that_moved_on_gives_what_was_found_first(
        self, site: HubSite, config: hf.HfConfig, streaming: bool
    ) -> None:
        old = load(hf.datasets(config), attrs.evolve(HUB, streaming=streaming))
        first = site.repositories["dataset", "org/data"].branches["main"]
        site.add("org/data", {"train.jsonl": lines(ROWS[:2])}, type="dataset")
        handlers = hf.datasets(config)
        assert list(handlers.run(perform(DatasetStore.read_rows, old)).unwrap()) == ROWS
        assert list(read(handlers, HUB)) == ROWS[:2]
        assert list(read(handlers, attrs.evolve(HUB, revision=first))) == ROWS

    def test_keeps_private_data_from_strangers(self, site: HubSite, config: hf.HfConfig) -> None:
        site.add("org/secret", {"train.jsonl": lines(ROWS)}, type="dataset", private=True)
        secret = DatasetConfig(name="org/secret")
        assert isinstance(failure(hf.datasets(attrs.evolve(config, token=None)), secret), AccessDenied)
        assert list(read(hf.datasets(config), secret)) == ROWS

    def test_with_a_revision_that_is_not_there_says_so(self, config: hf.HfConfig) -> None:
        error = failure(hf.datasets(config), attrs.evolve(HUB, revision="v9"))
        assert isinstance(error, NotFound)
        assert error.kind == "revision"

    def test_cannot_lead_out_of_its_folder(self, site: HubSite, config: hf.HfConfig, tmp_path: Path) -> None:
        bad = {"train.jsonl": lines(ROWS), "../../escaped.jsonl": b"{}", "/absolute.jsonl": b"{}"}
        site.add("org/bad", bad, type="dataset")
        assert list(read(hf.datasets(config), DatasetConfig(name="org/bad"))) == ROWS
        assert list(tmp_path.rglob("escaped.jsonl")) == []

    @pytest.mark.parametrize("up", ["", "../../../../../.."])
    def test_cannot_choose_files_of_this_machine(
        self, site: HubSite, config: hf.HfConfig, tmp_path: Path, up: str
    ) -> None:
        (tmp_path / "secret.txt").write_text("mine")
        readme = f"---\nconfigs:\n- config_name: x\n  data_files: {up}{tmp_path}/secret.txt\n---\n"
        site.add("org/bad", {"README.md": readme.encode(), "train.txt": b"ok"}, type="dataset")
        bad = DatasetConfig(name="org/bad")
        assert isinstance(failure(hf.datasets(config), bad), BackendFailed | InvalidRequest | NotFound)

    def test_that_goes_away_in_the_middle_of_a_stream_is_unavailable(self, site: HubSite, config: hf.HfConfig) -> None:
        handlers = hf.datasets(config)
        stream = load(handlers, attrs.evolve(HUB, streaming=True))
        first = handlers.run(perform(DatasetStore.read_batch, stream, 8)).unwrap()
        site.fail("HEAD", "train-1", of_json({"error": "slow down"}, 429, **{"Retry-After": "99"}), times=2)
        error = handlers.run(perform(DatasetStore.read_batch, stream, 8, after=first.position)).failure()
        assert isinstance(error, Unavailable)
        assert error.retry_after_seconds == 99
        again = handlers.run(perform(DatasetStore.read_batch, stream, 8, after=first.position)).unwrap()
        assert [row["n"] for row in again.rows] == list(range(8, 16))


class TestAStream:
    def stream(self, here: Handlers[DatasetStore], name: str, **options: object) -> Dataset:
        return load(here, DatasetConfig(name=name, streaming=True, options=options))

    def rows(self, here: Handlers[DatasetStore], stream: Dataset) -> list[object]:
        return [row["n"] for row in here.run(perform(DatasetStore.read_rows, stream)).unwrap()]

    def test_shuffles_as_far_as_its_buffer_reaches(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        stream = self.stream(here, str(save_jsonl(tmp_path)), shuffle_buffer=6)
        orders = [
            self.rows(here, here.run(perform(DatasetStore.shuffle, stream, seed=seed)).unwrap()) for seed in (1, 1, 2)
        ]
        assert orders[0] == orders[1] != orders[2]
        assert sorted(map(int, map(str, orders[0]))) == list(range(24))
        assert all(int(str(n)) < 6 for n in orders[0][:3])

    def test_is_not_counted_and_its_rows_have_no_numbers(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        stream = self.stream(here, str(save_folder(tmp_path)))
        assert stream.num_rows is None
        selecting = here.run(perform(DatasetStore.select, stream, [0]))
        assert isinstance(selecting.failure(), Unsupported)
        assert len(self.rows(here, here.run(perform(DatasetStore.get_split, stream, "test")).unwrap())) == 3
        missing = here.run(perform(DatasetStore.get_split, stream, "none"))
        assert isinstance(missing.failure(), NotFound)

    @pytest.mark.parametrize(
        "after", ["", "7", "[]", "{}", '{"row": "x", "state": null}', '{"row": 1, "state": {"a": 1}}']
    )
    def test_refuses_positions_that_are_none(self, here: Handlers[DatasetStore], tmp_path: Path, after: str) -> None:
        stream = self.stream(here, str(save_jsonl(tmp_path)))
        reading = here.run(perform(DatasetStore.read_batch, stream, 1, after=after))
        assert isinstance(reading.failure(), InvalidRequest)

    def test_refuses_numbers_below_zero(self, here: Handlers[DatasetStore], tmp_path: Path) -> None:
        stream = self.stream(here, str(save_jsonl(tmp_path)))
        for operation in (
            perform(DatasetStore.take, stream, -1),
            perform(DatasetStore.skip, stream, -1),
            perform(DatasetStore.read_rows, stream, start=-1),
            perform(DatasetStore.read_rows, stream, count=-1),
            perform(DatasetStore.read_batch, stream, -1),
        ):
            assert isinstance(here.run(operation).failure(), InvalidRequest)

    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        steps=st.lists(st.tuples(st.sampled_from(["shuffle", "take", "skip"]), st.integers(0, 15)), max_size=3),
        sizes=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=6),
    )
    def test_goes_on_from_a_position_as_if_it_had_never_stopped(
        self, folder: str, steps: list[tuple[str, int]], sizes: list[tuple[int, bool]]
    ) -> None:
        handlers = hf.datasets()
        stream = self.stream(handlers, folder, shuffle_buffer=7)
        for operation, argument in steps:
            stream = handlers.run(
                perform(DatasetStore.shuffle, stream, seed=argument)
                if operation == "shuffle"
                else perform(getattr(DatasetStore, operation), stream, argument)
            ).unwrap()
        whole = self.rows(handlers, stream)
        read, position = [], None
        for size, is_new in sizes:
            handlers = hf.datasets() if is_new else handlers
            batch = handlers.run(perform(DatasetStore.read_batch, stream, size, after=position)).unwrap()
            read += [row["n"] for row in batch.rows]
            position = batch.position
        assert read == whole[: sum(size for size, _ in sizes)]
        if not any(operation == "shuffle" for operation, _ in steps):
            assert whole == [row["n"] for row in _plain(steps)]


def _plain(steps: list[tuple[str, int]]) -> list[dict[str, object]]:
    rows = list(ROWS)
    for operation, argument in steps:
        rows = rows[:argument] if operation == "take" else rows[argument:]
    return rows
