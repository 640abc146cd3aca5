"""`EventStore`: the port of everything that keeps what happened in a run."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from crucible.effects import Json, Port, Result
from crucible.telemetry.errors import StoreError, StoreUnavailable
from crucible.telemetry.types import EventFilter, EventRecord, RunInfo


class EventStore(Port, unanswered=StoreUnavailable.because):
    """Keeps events by run. A run is opened before anything is inserted; what was not opened is an error, to read too."""

    @abstractmethod
    async def open_run(self, run_id: str, *, metadata: Mapping[str, Json] | None = None) -> Result[RunInfo, StoreError]:
        """Make a run known. Opening it again changes nothing and gives it as it was first opened."""

    @abstractmethod
    async def insert(self, run_id: str, events: Sequence[EventRecord]) -> Result[int, StoreError]:
        """Keep a batch, all of it or nothing, and tell how many events were new.

        An event whose sequence number the run already has is left out: the first stands.
        """

    @abstractmethod
    async def query(
        self, run_id: str, wanted: EventFilter = EventFilter()
    ) -> Result[tuple[EventRecord, ...], StoreError]:
        """Give the events that fit, by sequence number."""

    @abstractmethod
    async def list_runs(self) -> Result[tuple[RunInfo, ...], StoreError]:
        """Give the runs that were opened, sorted by id."""

    @abstractmethod
    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Forget a run and its events. Deleting what is not there is no error."""
