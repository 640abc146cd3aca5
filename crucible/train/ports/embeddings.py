"""`EmbeddingClient`: the port of everything that turns text into vectors."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import Vector


class EmbeddingClient(Port, unanswered=Unavailable.because):
    """Embeds text."""

    @abstractmethod
    async def embed_texts(self, texts: Sequence[str]) -> Result[tuple[Vector, ...], TrainError]:
        """Give one vector of length 1 for each text, all of one dimension; the same text gives the same vector."""
