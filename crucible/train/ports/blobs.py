"""`BlobStore`: the port of everything that keeps bytes."""

from abc import abstractmethod

from crucible.effects import Port, Result
from crucible.train.errors import TrainError, Unavailable
from crucible.train.types import BlobInfo


class BlobStore(Port, unanswered=Unavailable.because):
    """Keeps bytes under relative paths (see `is_blob_path`; another path is an InvalidRequest)."""

    @abstractmethod
    async def read(self, path: str) -> Result[bytes, TrainError]:
        """Give all bytes of a blob."""

    @abstractmethod
    async def read_range(self, path: str, *, offset: int, length: int) -> Result[bytes, TrainError]:
        """Give `length` bytes from `offset` on; fewer, or none, where the blob ends before."""

    @abstractmethod
    async def write(self, path: str, data: bytes) -> Result[BlobInfo, TrainError]:
        """Write a blob, or write it anew: readers see the old bytes or the new ones, never a part."""

    @abstractmethod
    async def upload(self, path: str, source: str) -> Result[BlobInfo, TrainError]:
        """Write what the file `source` of this machine holds, as `write` does, but never all of it in memory."""

    @abstractmethod
    async def download(self, path: str, target: str) -> Result[BlobInfo, TrainError]:
        """Bring a blob into the file `target` of this machine, which holds all of it or stays as it was."""

    @abstractmethod
    async def checksum(self, path: str) -> Result[str, TrainError]:
        """Give the SHA-256 of the bytes as they are stored, in hexadecimal."""

    @abstractmethod
    async def exists(self, path: str) -> Result[bool, TrainError]:
        """Tell whether there is a blob at exactly that path."""

    @abstractmethod
    async def list_blobs(self, prefix: str = "") -> Result[tuple[BlobInfo, ...], TrainError]:
        """Give the blobs whose paths begin with `prefix`, sorted by path."""

    @abstractmethod
    async def delete(self, path: str) -> Result[None, TrainError]:
        """Delete a blob. Deleting what is not there is no error."""
