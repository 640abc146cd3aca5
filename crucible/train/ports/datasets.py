"""`DatasetStore`: the port of everything that gives rows."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import Dataset, DatasetConfig, Row, RowBatch


class DatasetStore(Port, unanswered=Unavailable.because):
    """Finds datasets and reads their rows. Every operation gives a new handle; none changes an old one."""

    @abstractmethod
    async def load_dataset(self, config: DatasetConfig) -> Result[Dataset, TrainError]:
        """Find a dataset and give a handle to one of its splits."""

    @abstractmethod
    async def get_split(self, dataset: Dataset, split: str) -> Result[Dataset, TrainError]:
        """Give another split of the same dataset."""

    @abstractmethod
    async def shuffle(self, dataset: Dataset, *, seed: int) -> Result[Dataset, TrainError]:
        """Permute the rows: the same seed gives the same order everywhere."""

    @abstractmethod
    async def take(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Keep the first `count` rows."""

    @abstractmethod
    async def skip(self, dataset: Dataset, count: int) -> Result[Dataset, TrainError]:
        """Leave out the first `count` rows."""

    @abstractmethod
    async def select(self, dataset: Dataset, indices: Sequence[int]) -> Result[Dataset, TrainError]:
        """Keep the rows at `indices`, in that order. An index out of range is an error that names it."""

    @abstractmethod
    async def read_rows(
        self, dataset: Dataset, *, start: int = 0, count: int | None = None
    ) -> Result[tuple[Row, ...], TrainError]:
        """Read `count` rows from `start` on; fewer when there are no more, all of them when `count` is None."""

    @abstractmethod
    async def read_batch(
        self, dataset: Dataset, count: int, *, after: str | None = None
    ) -> Result[RowBatch, TrainError]:
        """Read `count` rows from a position on, which an earlier batch of the same dataset gave; from the start when None.

        Fewer rows come when there are no more, and none at the end. A position of another kind is an InvalidRequest.
        """
