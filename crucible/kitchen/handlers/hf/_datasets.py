"""`DatasetStore` on `datasets`."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from crucible.effects import Failure, Result
from crucible.kitchen.handlers.hf._config import HfConfig
from crucible.kitchen.handlers.hf._errors import Refused, attempted, missing_extra, outcome
from crucible.kitchen.handlers.hf._sources import checked_options, pinned
from crucible.kitchen.handlers.hf._streams import Streams
from crucible.kitchen.handlers.hf._tables import read_table
from crucible.kitchen.handlers.rows import ManyRows, Recipe, RowStore, checked, recipe_of
from crucible.train.errors import InvalidRequest, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row, RowBatch

A = TypeVar("A")


class HfDatasets(DatasetStore):
    """Reads tables, whose rows have numbers, through a `RowStore`, and streams, whose rows come in order."""

    def __init__(self, config: HfConfig) -> None:
        self._config = config
        self._tables = RowStore(self._read_split, in_thread=True)
        self._streams = Streams(config)

    async def load_dataset(self, config: DatasetConfig) -> Result[Dataset, TrainError]:
        written = checked(config)
        if isinstance(written, Failure):
            return written
        known = await self._try(lambda: pinned(checked_options(config), self._config), config.name)
        if isinstance(known, Failure):
            return known
        exact = known.unwrap()
        return await (self._stream(Recipe(config=exact)) if exact.streaming else self._tables.load_dataset(exact))

    async def get_split(self, dataset: Dataset, split: str) -> Result[Dataset, TrainError]:
        stream = _stream_recipe(dataset)
        if stream is None:
            return await self._tables.get_split(dataset, split)
        return await self._stream(Recipe(config=attrs.evolve(stream.config, split=split)))

    async def shuffle(self, dataset: Dataset, *, seed: int) -> Result[Dataset, TrainError]:
        stream = _stream_recipe(dataset)
        if stream is None:
            return await self._tables.shuffle(dataset, seed=seed)
        return await self._stream(stream.then("shuffle", seed))

    async def take(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        stream = _stream_recipe(dataset)
        return await (self._tables.take(dataset, count) if stream is None else self._stream(stream.then("take", count)))

    async def skip(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        stream = _stream_recipe(dataset)
        return await (self._tables.skip(dataset, count) if stream is None else self._stream(stream.then("skip", count)))

    async def select(self, dataset: Dataset, indices: Sequence[int]) -> Result[Dataset, TrainError]:
        stream = _stream_recipe(dataset)
        if stream is None:
            return await self._tables.select(dataset, indices)
        return await self._stream(stream.then("select", tuple(indices)))

    async def read_rows(
        self, dataset: Dataset, *, start: int = 0, count: int | None = None
    ) -> Result[tuple[Row, ...], TrainError]:
        stream = _stream_recipe(dataset)
        if stream is None:
            return await self._tables.read_rows(dataset, start=start, count=count)
        return await self._try(lambda: self._streams.read(stream, _row(start), _rows(count)), dataset.name)

    async def read_batch(
        self, dataset: Dataset, count: int, *, after: str | None = None
    ) -> Result[RowBatch, TrainError]:
        stream = _stream_recipe(dataset)
        if stream is None:
            return await self._tables.read_batch(dataset, count, after=after)
        return await self._try(lambda: self._streams.read_batch(stream, _row(count), after), dataset.name)

    async def _stream(self, recipe: Recipe) -> Result[Dataset, TrainError]:
        """Give a handle to a stream. How many rows it has, only reading to the end would tell."""
        config = recipe.config
        handle = Dataset(id=recipe.id, name=config.name, split=config.split, num_rows=None)
        return (await self._try(lambda: self._streams.check(recipe), config.name)).map(lambda _: handle)

    async def _try(self, work: Callable[[], A], name: str) -> Result[A, TrainError]:
        return await attempted(_with_library(work), about=name, token=self._config.token)

    def _read_split(self, config: DatasetConfig) -> Result[ManyRows, TrainError]:
        work = _with_library(lambda: read_table(config, self._config))
        return outcome(work, about=config.name, token=self._config.token)


def _with_library(work: Callable[[], A]) -> Callable[[], A]:
    """Do work that needs `datasets`, whose progress bars are off: a workflow shows its own."""

    def done() -> A:
        missing = missing_extra("datasets")
        if missing is not None:
            raise Refused(missing)
        import datasets

        datasets.disable_progress_bars()
        return work()

    return done


def _stream_recipe(dataset: Dataset) -> Recipe | None:
    """Read the recipe of a stream's handle; None for another handle, which the tables know or refuse."""
    recipe = recipe_of(dataset).value_or(None)
    return recipe if recipe is not None and recipe.config.streaming else None


def _row(number: int) -> int:
    if number < 0:
        raise Refused(InvalidRequest(message=f"{number} is no number of rows"))
    return number


def _rows(count: int | None) -> int | None:
    return None if count is None else _row(count)
