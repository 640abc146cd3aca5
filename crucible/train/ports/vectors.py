"""`VectorStore`: the port of everything that finds vectors by likeness."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import Condition, Match, MetadataValue, Vector, VectorCollection, VectorRow


class VectorStore(Port, unanswered=Unavailable.because):
    """Keeps vectors in named collections and finds the most similar by cosine."""

    @abstractmethod
    async def create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        """Make a collection. A name that is taken is an InvalidRequest."""

    @abstractmethod
    async def get_collection(self, name: str) -> Result[VectorCollection, TrainError]:
        """Find a collection."""

    @abstractmethod
    async def get_or_create_collection(
        self, name: str, *, dimension: int, metadata: Mapping[str, MetadataValue] | None = None
    ) -> Result[VectorCollection, TrainError]:
        """Find a collection as it was made, or make it. One of another dimension is an InvalidRequest."""

    @abstractmethod
    async def delete_collection(self, name: str) -> Result[None, TrainError]:
        """Delete a collection with its rows. Deleting what is not there is no error."""

    @abstractmethod
    async def list_collections(self) -> Result[tuple[VectorCollection, ...], TrainError]:
        """Give all collections, sorted by name."""

    @abstractmethod
    async def upsert(self, collection: str, rows: Sequence[VectorRow]) -> Result[None, TrainError]:
        """Write rows, all or none; the same id again takes the place of what was there.

        A vector of another dimension, of length 0 or with a number that is not finite is an InvalidRequest with index.
        """

    @abstractmethod
    async def query(
        self, collection: str, vectors: Sequence[Vector], *, num_results: int = 10, where: Sequence[Condition] = ()
    ) -> Result[tuple[tuple[Match, ...], ...], TrainError]:
        """Give, for each vector, the most similar rows that meet all conditions, best first; ties by id.

        An exact store gives the exact answer; an approximate one may miss a row, but never gives a wrong similarity.
        """

    @abstractmethod
    async def delete_rows(self, collection: str, ids: Sequence[str]) -> Result[None, TrainError]:
        """Delete rows. Deleting what is not there is no error."""

    @abstractmethod
    async def count(self, collection: str) -> Result[int, TrainError]:
        """Count the rows."""
