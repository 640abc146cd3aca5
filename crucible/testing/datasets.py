"""The contract of `DatasetStore`, as a suite that any handler can be put through."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from crucible.effects import Do, Handlers, do, perform
from crucible.testing._laws import Laws, obey, refused, require, require_equal
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row

Law: TypeAlias = Do[TrainError, DatasetStore, None]


def check_dataset_store(
    make: Callable[[], Handlers[DatasetStore]],
    *,
    config: DatasetConfig,
    other_split: str | None = None,
    missing: str | None = None,
) -> None:
    """Put the handlers that `make` gives through the contract of `DatasetStore`.

    Args:
        make: gives the handlers; it is called once for each law, and may give the same ones again.
        config: a dataset of 8 to some thousand different rows, not streaming.
        other_split: another split that it has.
        missing: the name of a dataset that is not there.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    suite = _Suite(config=config, other_split=other_split, missing=missing)
    obey(make, suite.laws())
    kept: list[tuple[Dataset, str, tuple[Row, ...]]] = []
    obey(make, {"batches join to the rows": suite.batches(kept)})
    obey(make, {"reading goes on from a position that was kept": suite.resuming(kept)})


@attrs.frozen(kw_only=True)
class _Suite:
    config: DatasetConfig
    other_split: str | None
    missing: str | None

    def laws(self) -> Laws[DatasetStore]:
        return {
            "a handle says what it is, and its rows can be read": self.loading(),
            "rows are read in windows that join without gap or overlap": self.windows(),
            "take and skip divide the rows": self.dividing(),
            "a shuffle is a permutation, the same for the same seed": self.shuffling(),
            "select gives the rows at the indices, in their order": self.selecting(),
            "an operation leaves the handle it was given as it was": self.immutability(),
            "what is not there is not found": self.missing_things(),
            "bad requests are refused": self.bad_requests(),
        }

    @do
    def loaded(self) -> Do[TrainError, DatasetStore, tuple[Dataset, tuple[Row, ...]]]:
        dataset = yield from perform(DatasetStore.load_dataset, self.config)
        return dataset, (yield from perform(DatasetStore.read_rows, dataset))

    @do
    def loading(self) -> Law:
        dataset, rows = yield from self.loaded()
        require_equal((dataset.name, dataset.split), (self.config.name, self.config.split), "name and split")
        require(all(isinstance(row, Mapping) for row in rows), "a row is no mapping of column names to values")
        require(len(rows) > 1, f"this suite needs more rows than {len(rows)}")
        require_equal(dataset.num_rows, len(rows), "num_rows")
        if self.other_split is not None:
            other = yield from perform(DatasetStore.get_split, dataset, self.other_split)
            require_equal((other.name, other.split), (self.config.name, self.other_split), "name and split")
            yield from perform(DatasetStore.read_rows, other)

    @do
    def windows(self) -> Law:
        dataset, rows = yield from self.loaded()
        size = len(rows) // 3 + 1
        joined: list[Row] = []
        for start in range(0, len(rows), size):
            joined.extend((yield from perform(DatasetStore.read_rows, dataset, start=start, count=size)))
        require_equal(tuple(joined), rows, "what the windows join to")
        rest = yield from perform(DatasetStore.read_rows, dataset, start=1)
        require_equal(rest, rows[1:], "what is read from the second row on")
        beyond = yield from perform(DatasetStore.read_rows, dataset, start=len(rows), count=5)
        require_equal(beyond, (), "what is read after the last row")

    @do
    def batches(self, kept: list[tuple[Dataset, str, tuple[Row, ...]]]) -> Law:
        dataset, _ = yield from self.loaded()
        shuffled = yield from perform(DatasetStore.shuffle, dataset, seed=1)
        rows = yield from perform(DatasetStore.read_rows, shuffled)
        size, position, joined = len(rows) // 3 + 1, None, tuple[Row, ...]()
        while True:
            batch = yield from perform(DatasetStore.read_batch, shuffled, size, after=position)
            again = yield from perform(DatasetStore.read_batch, shuffled, size, after=position)
            require_equal(again, batch, f"the batch after {position!r}, read again")
            if not batch.rows:
                break
            joined, position = joined + batch.rows, batch.position
            kept.append((shuffled, position, rows[len(joined) :]))
        require_equal(joined, rows, "what the batches join to")
        for bad in ("no position", "-1"):
            reading = perform(DatasetStore.read_batch, shuffled, size, after=bad)
            yield from refused(f"reading after {bad!r}", reading, InvalidRequest)
        yield from refused("a batch of -1 rows", perform(DatasetStore.read_batch, shuffled, -1), InvalidRequest)

    @do
    def resuming(self, kept: list[tuple[Dataset, str, tuple[Row, ...]]]) -> Law:
        yield from self.loaded()
        for dataset, position, left in kept:
            rest = yield from perform(DatasetStore.read_batch, dataset, len(left) + 1, after=position)
            require_equal(rest.rows, left, f"the rows after {position!r}")

    @do
    def dividing(self) -> Law:
        dataset, rows = yield from self.loaded()
        for count in (0, 1, len(rows) // 2, len(rows), len(rows) + 3):
            head = yield from perform(DatasetStore.take, dataset, count)
            tail = yield from perform(DatasetStore.skip, dataset, count)
            require_equal((yield from perform(DatasetStore.read_rows, head)), rows[:count], f"the first {count} rows")
            require_equal((yield from perform(DatasetStore.read_rows, tail)), rows[count:], f"all but {count} rows")
            require_equal(head.num_rows, min(count, len(rows)), "num_rows of the rows taken")

    @do
    def shuffling(self) -> Law:
        dataset, rows = yield from self.loaded()
        orders = []
        for seed in (1, 1, 2):
            shuffled = yield from perform(DatasetStore.shuffle, dataset, seed=seed)
            orders.append((yield from perform(DatasetStore.read_rows, shuffled)))
            require_equal(_bag(orders[-1]), _bag(rows), "the shuffled rows, sorted")
        require_equal(orders[1], orders[0], "the order of the same seed")
        require(orders[2] != orders[0], "two seeds give one order")
        require(orders[0] != rows, "a shuffle left every row in its place")

    @do
    def selecting(self) -> Law:
        dataset, rows = yield from self.loaded()
        for indices in ((len(rows) - 1, 0), (1, 1), ()):
            chosen = yield from perform(DatasetStore.select, dataset, indices)
            found = yield from perform(DatasetStore.read_rows, chosen)
            require_equal(found, tuple(rows[i] for i in indices), f"the rows at {indices}")

    @do
    def immutability(self) -> Law:
        dataset, rows = yield from self.loaded()
        yield from perform(DatasetStore.shuffle, dataset, seed=3)
        yield from perform(DatasetStore.take, dataset, 1)
        yield from perform(DatasetStore.skip, dataset, 1)
        yield from perform(DatasetStore.select, dataset, [0])
        require_equal((yield from perform(DatasetStore.read_rows, dataset)), rows, "what the first handle reads")
        again, same = yield from self.loaded()
        require_equal((again.num_rows, same), (dataset.num_rows, rows), "the dataset loaded again")

    @do
    def missing_things(self) -> Law:
        dataset, _ = yield from self.loaded()
        splitting = perform(DatasetStore.get_split, dataset, "no-such-split")
        yield from refused("a split that is not there", splitting, NotFound)
        stranger = attrs.evolve(dataset, id="never-loaded")
        yield from refused("a handle that was never given", perform(DatasetStore.read_rows, stranger), NotFound)
        if self.missing is not None:
            loading = perform(DatasetStore.load_dataset, attrs.evolve(self.config, name=self.missing))
            yield from refused("a dataset that is not there", loading, NotFound)

    @do
    def bad_requests(self) -> Law:
        dataset, rows = yield from self.loaded()
        for bad in (len(rows), -1):
            selecting = perform(DatasetStore.select, dataset, [0, bad])
            error = yield from refused(f"selecting row {bad}", selecting, InvalidRequest)
            require(str(bad) in str(error), f"the error does not name the index {bad}: {error}")
        yield from refused("taking -1 rows", perform(DatasetStore.take, dataset, -1), InvalidRequest)
        yield from refused("leaving out -1 rows", perform(DatasetStore.skip, dataset, -1), InvalidRequest)
        yield from refused("reading from -1", perform(DatasetStore.read_rows, dataset, start=-1), InvalidRequest)


def _bag(rows: tuple[Row, ...]) -> list[str]:
    return sorted(repr(sorted(row.items(), key=lambda item: item[0])) for row in rows)
