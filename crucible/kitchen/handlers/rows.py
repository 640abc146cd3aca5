"""`RowStore`: a `DatasetStore` over rows in memory, wherever they come from."""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

import attrs

from crucible.effects import Failure, Result, Success
from crucible.train.errors import InvalidRequest, NotFound, TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import Dataset, DatasetConfig, Row
from crucible.train.types.ordering import permutation


class ReadSplit(Protocol):
    """Gives all rows of a split, always the same for the same configuration; called once for each."""

    def __call__(self, config: DatasetConfig) -> Result[tuple[Row, ...], TrainError]:
        """Give the rows, or the error that there are none such."""


@attrs.frozen(kw_only=True)
class _Recipe:
    """How to get at the rows of a handle: a split, and what was done to it."""

    config: DatasetConfig
    steps: tuple[tuple[str, int | tuple[int, ...]], ...] = ()

    @property
    def id(self) -> str:
        return json.dumps([attrs.asdict(self.config), self.steps], separators=(",", ":"))

    def then(self, operation: str, argument: int | tuple[int, ...]) -> "_Recipe":
        return attrs.evolve(self, steps=(*self.steps, (operation, argument)))


class RowStore(DatasetStore):
    """Keeps rows in memory. A handle's id says how it was made, so handles outlive this object."""

    def __init__(self, read_split: ReadSplit) -> None:
        self._read_split = read_split
        self._held: dict[str, Result[tuple[Row, ...], TrainError]] = {}

    async def load_dataset(self, config: DatasetConfig) -> Result[Dataset, TrainError]:
        """Read a split and give a handle to it."""
        try:
            json.dumps(attrs.asdict(config))
        except (TypeError, ValueError) as error:  # a handle is text, so that it outlives this object
            fix = "give numbers, text, lists and dicts"
            return Failure(InvalidRequest(message=f"the options of {config.name!r} are no JSON ({error})", fix=fix))
        return self._opened(_Recipe(config=config))

    async def get_split(self, dataset: Dataset, split: str) -> Result[Dataset, TrainError]:
        """Give another split of the same dataset, untouched."""
        return _recipe_of(dataset).bind(
            lambda recipe: self._opened(_Recipe(config=attrs.evolve(recipe.config, split=split)))
        )

    async def shuffle(self, dataset: Dataset, *, seed: int) -> Result[Dataset, TrainError]:
        """Permute the rows."""
        return self._derived(dataset, "shuffle", seed)

    async def take(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Keep the first rows."""
        return self._derived(dataset, "take", count)

    async def skip(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Leave out the first rows."""
        return self._derived(dataset, "skip", count)

    async def select(self, dataset: Dataset, indices: Sequence[int]) -> Result[Dataset, TrainError]:
        """Keep the rows at some indices, in that order."""
        return self._derived(dataset, "select", tuple(indices))

    async def read_rows(
        self, dataset: Dataset, *, start: int = 0, count: int | None = None
    ) -> Result[tuple[Row, ...], TrainError]:
        """Read rows from a position on."""
        if start < 0 or (count is not None and count < 0):
            return Failure(InvalidRequest(message=f"rows cannot be read from {start}, {count} of them"))
        end = None if count is None else start + count
        return _recipe_of(dataset).bind(
            lambda recipe: self._rows(recipe).map(
                lambda rows: tuple(rows[i] for i in _order(recipe, len(rows))[start:end])
            )
        )

    def _rows(self, recipe: _Recipe) -> Result[tuple[Row, ...], TrainError]:
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
        def derived(recipe: _Recipe, size: int) -> Result[Dataset, TrainError]:
            problem = _CHECKS.get(operation, _fine)(argument, size)
            return self._opened(recipe.then(operation, argument)) if problem is None else Failure(problem)

        return _recipe_of(dataset).bind(
            lambda recipe: self._rows(recipe).bind(lambda rows: derived(recipe, len(_order(recipe, len(rows)))))
        )

    def _opened(self, recipe: _Recipe) -> Result[Dataset, TrainError]:
        config = recipe.config
        return self._rows(recipe).map(
            lambda rows: Dataset(
                id=recipe.id,
                name=config.name,
                split=config.split,
                num_rows=None if config.streaming else len(_order(recipe, len(rows))),
            )
        )


def _recipe_of(dataset: Dataset) -> Result[_Recipe, TrainError]:
    """Read the recipe that a handle's id is."""
    try:
        config, steps = json.loads(dataset.id)
        made = tuple((str(op), tuple(arg) if isinstance(arg, list) else int(arg)) for op, arg in steps)
        recipe = _Recipe(config=DatasetConfig(**config), steps=made)
    except (ValueError, TypeError):
        return _unknown(dataset)
    known = all(operation in _STEPS for operation, _ in made)
    return Success(recipe) if known else _unknown(dataset)


def _unknown(dataset: Dataset) -> Result[_Recipe, TrainError]:
    return Failure(NotFound(kind="dataset", name=dataset.id, fix="use a handle that load_dataset gave"))


def _order(recipe: _Recipe, size: int) -> tuple[int, ...]:
    """Give the indices of the rows that a recipe stands for, in its order."""
    order = tuple(range(size))
    for operation, argument in recipe.steps:
        order = _STEPS[operation](order, argument)
    return order


Step: TypeAlias = Callable[..., tuple[int, ...]]


def _shuffle(order: tuple[int, ...], seed: int) -> tuple[int, ...]:
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
