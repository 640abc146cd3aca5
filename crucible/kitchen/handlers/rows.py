"""`RowStore`: a `DatasetStore` over rows that can be had by number, wherever they come from."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol, TypeAlias, TypeVar

import anyio.to_thread
import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row, RowBatch
from crucible.train.types.ordering import permutation

A = TypeVar("A")


class ManyRows(Sized):
    """Rows that are read where they are wanted, quicker many at once than one by one."""

    @abstractmethod
    def pick(self, indices: Sequence[int]) -> Result[tuple[Row, ...], TrainError]:
        """Give the rows at `indices`, in that order, or the error that one cannot be read."""


class ReadSplit(Protocol):
    """Gives all rows of a split, always the same for the same configuration; called once for each."""

    def __call__(self, config: DatasetConfig) -> Result[Sequence[Row] | ManyRows, TrainError]:
        """Give the rows, or the error that there are none such."""


@attrs.frozen(kw_only=True)
class Recipe:
    """How to get at the rows of a handle: a split, and what was done to it. A handle's id is its recipe as text."""

    config: DatasetConfig
    steps: tuple[tuple[str, int | tuple[int, ...]], ...] = ()

    @property
    def id(self) -> str:
        """Write it as text."""
        return json.dumps([attrs.asdict(self.config), self.steps], separators=(",", ":"))

    def then(self, operation: str, argument: int | tuple[int, ...]) -> "Recipe":
        """Do one more thing to it."""
        return attrs.evolve(self, steps=(*self.steps, (operation, argument)))


class RowStore(DatasetStore):
    """Keeps the rows that it has read. A handle's id says how it was made, so handles outlive this object.

    Args:
        read_split: gives the rows.
        in_thread: whether giving them blocks; then every operation does its work in a thread.
    """

    def __init__(self, read_split: ReadSplit, *, in_thread: bool = False) -> None:
        self._read_split = read_split
        self._in_thread = in_thread
        self._held: dict[str, Result[Sequence[Row] | ManyRows, TrainError]] = {}

    async def load_dataset(self, config: DatasetConfig) -> Result[Dataset, TrainError]:
        """Read a split and give a handle to it."""
        return await self._do(lambda: checked(config).bind(lambda config: self._opened(Recipe(config=config))))

    async def get_split(self, dataset: Dataset, split: str) -> Result[Dataset, TrainError]:
        """Give another split of the same dataset, untouched."""
        return await self._do(
            lambda: recipe_of(dataset).bind(
                lambda recipe: self._opened(Recipe(config=attrs.evolve(recipe.config, split=split)))
            )
        )

    async def shuffle(self, dataset: Dataset, *, seed: int) -> Result[Dataset, TrainError]:
        """Permute the rows."""
        return await self._do(lambda: self._derived(dataset, "shuffle", seed))

    async def take(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Keep the first rows."""
        return await self._do(lambda: self._derived(dataset, "take", count))

    async def skip(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Leave out the first rows."""
        return await self._do(lambda: self._derived(dataset, "skip", count))

    async def select(self, dataset: Dataset, indices: Sequence[int]) -> Result[Dataset, TrainError]:
        """Keep the rows at some indices, in that order."""
        return await self._do(lambda: self._derived(dataset, "select", tuple(indices)))

    async def read_rows(
        self, dataset: Dataset, *, start: int = 0, count: int | None = None
    ) -> Result[tuple[Row, ...], TrainError]:
        """Read rows from a position on."""
        return await self._do(lambda: self._read(dataset, start, count))

    async def read_batch(
        self, dataset: Dataset, count: int, *, after: str | None = None
    ) -> Result[RowBatch, TrainError]:
        """Read rows from a position on, which is the number of the rows before it."""
        start = 0 if after is None else int(after) if after.isdecimal() and len(after) < 19 else None
        if start is None:
            return Failure(not_a_position(after))
        rows = await self._do(lambda: self._read(dataset, start, count))
        return rows.map(lambda some: RowBatch(rows=some, position=str(start + len(some))))

    async def _do(self, work: Callable[[], Result[A, TrainError]]) -> Result[A, TrainError]:
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True) if self._in_thread else work()

    def _read(self, dataset: Dataset, start: int, count: int | None) -> Result[tuple[Row, ...], TrainError]:
        if start < 0 or (count is not None and count < 0):
            return Failure(InvalidRequest(message=f"rows cannot be read from {start}, {count} of them"))
        end = None if count is None else start + count
        return recipe_of(dataset).bind(
            lambda recipe: self._rows(recipe).bind(
                lambda rows: _picked(rows, _order(recipe.steps, len(rows))[start:end])
            )
        )

    def _rows(self, recipe: Recipe) -> Result[Sequence[Row] | ManyRows, TrainError]:
        key = json.dumps(attrs.asdict(recipe.config), sort_keys=True)
        found = self._held.get(key)
        if found is None:
            found = self._read_split(recipe.config)
            if not isinstance(found, Failure):  # what failed may be there the next time
                self._held[key] = found
        return found

    def _derived(
        self, dataset: Dataset, operation: str, argument: int | tuple[int, ...]
    ) -> Result[Dataset, TrainError]:
        def derived(recipe: Recipe, size: int) -> Result[Dataset, TrainError]:
            problem = _CHECKS.get(operation, _fine)(argument, size)
            return self._opened(recipe.then(operation, argument)) if problem is None else Failure(problem)

        return recipe_of(dataset).bind(
            lambda recipe: self._rows(recipe).bind(lambda rows: derived(recipe, len(_order(recipe.steps, len(rows)))))
        )

    def _opened(self, recipe: Recipe) -> Result[Dataset, TrainError]:
        config = recipe.config
        return self._rows(recipe).map(
            lambda rows: Dataset(
                id=recipe.id,
                name=config.name,
                split=config.split,
                num_rows=None if config.streaming else len(_order(recipe.steps, len(rows))),
            )
        )


def checked(config: DatasetConfig) -> Result[DatasetConfig, TrainError]:
    """Give a configuration that can be written: a handle is text, so that it outlives its store."""
    try:
        json.dumps(attrs.asdict(config))
    except (TypeError, ValueError) as error:
        fix = "give numbers, text, lists and dicts"
        return Failure(InvalidRequest(message=f"the options of {config.name!r} are no JSON ({error})", fix=fix))
    return Success(config)


def recipe_of(dataset: Dataset) -> Result[Recipe, TrainError]:
    """Read the recipe that a handle's id is."""
    try:
        config, steps = json.loads(dataset.id)
        made = tuple((str(op), tuple(arg) if isinstance(arg, list) else int(arg)) for op, arg in steps)
        recipe = Recipe(config=DatasetConfig(**config), steps=made)
    except (ValueError, TypeError):
        return _unknown(dataset)
    known = all(operation in _STEPS for operation, _ in made)
    return Success(recipe) if known else _unknown(dataset)


def _unknown(dataset: Dataset) -> Result[Recipe, TrainError]:
    return Failure(NotFound(kind="dataset", name=dataset.id, fix="use a handle that load_dataset gave"))


def _picked(rows: Sequence[Row] | ManyRows, indices: Sequence[int]) -> Result[tuple[Row, ...], TrainError]:
    return rows.pick(indices) if isinstance(rows, ManyRows) else Success(tuple(rows[i] for i in indices))


def not_a_position(text: str | None) -> InvalidRequest:
    """Say that a text is no position in a dataset."""
    return InvalidRequest(message=f"{text!r} is no position in this dataset", fix="give the position of a batch of it")


@lru_cache(maxsize=8)  # of a large dataset, an order is worth keeping from one batch to the next
def _order(steps: tuple[tuple[str, int | tuple[int, ...]], ...], size: int) -> Sequence[int]:
    """Give the indices of the rows that a recipe stands for, in its order."""
    order: Sequence[int] = range(size)
    for operation, argument in steps:
        order = _STEPS[operation](order, argument)
    return order


Step: TypeAlias = Callable[..., Sequence[int]]


def _shuffle(order: Sequence[int], seed: int) -> tuple[int, ...]:
    return tuple(order[i] for i in permutation(len(order), seed=seed))


def _fine(argument: int | tuple[int, ...], size: int) -> TrainError | None:
    return None


def _negative(argument: int, size: int) -> TrainError | None:
    return InvalidRequest(message=f"{argument} rows cannot be taken or left out") if argument < 0 else None


def _outside(argument: tuple[int, ...], size: int) -> TrainError | None:
    bad = next((i for i in argument if not 0 <= i < size), None)
    return None if bad is None else InvalidRequest(message=f"row {bad} is out of range: there are {size}", index=bad)


_STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "shuffle": _shuffle,
        "take": lambda order, count: order[:count],
        "skip": lambda order, count: order[count:],
        "select": lambda order, indices: tuple(order[i] for i in indices),
    }
)
_CHECKS: Mapping[str, Callable[..., TrainError | None]] = MappingProxyType(
    {"take": _negative, "skip": _negative, "select": _outside}
)
