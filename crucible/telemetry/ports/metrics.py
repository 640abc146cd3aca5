"""`MetricsStore`: the port of everything that keeps numbers of a run."""

from abc import abstractmethod
from collections.abc import Sequence

from crucible.effects import Port, Result
from crucible.telemetry.errors import StoreError, StoreUnavailable
from crucible.telemetry.types import MetricPoint


class MetricsStore(Port, unanswered=StoreUnavailable.because):
    """Keeps metric points by run. Values come back bit for bit: NaN, infinities and -0.0 included."""

    @abstractmethod
    async def record(self, run_id: str, points: Sequence[MetricPoint]) -> Result[int, StoreError]:
        """Keep a batch, all of it or nothing, and tell how many points were new.

        A point whose sequence number the run already has is left out: the first stands. So a batch can be recorded again.
        """

    @abstractmethod
    async def flush(self, run_id: str) -> Result[None, StoreError]:
        """Bring what was recorded to where it survives a crash of the machine."""

    @abstractmethod
    async def read(
        self, run_id: str, *, name: str | None = None, since_step: int | None = None
    ) -> Result[tuple[MetricPoint, ...], StoreError]:
        """Give the points of a run by sequence number: of one metric, of steps from `since_step` on, or all.

        A point without a step is left out where steps are asked for. A run with no points is unknown: an error.
        """

    @abstractmethod
    async def list_metrics(self, run_id: str) -> Result[tuple[str, ...], StoreError]:
        """Give the names of a run's metrics, sorted."""

    @abstractmethod
    async def delete_run(self, run_id: str) -> Result[None, StoreError]:
        """Forget the points of a run. Deleting what is not there is no error."""
