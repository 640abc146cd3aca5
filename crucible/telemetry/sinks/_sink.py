"""`Sink`: where copies of what a run records go. It is written to, and never asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar

import attrs

from crucible.effects import Failure, Json, Result, Success
from crucible.fields import ABOVE_0, AT_LEAST_1, checked
from crucible.telemetry.errors import StoreError, StoreFailed
from crucible.telemetry.types import EventRecord, MetricPoint

T = TypeVar("T")

Ending: TypeAlias = Literal["completed", "failed", "interrupted"]
"""How a run ended: with its result, with a typed error, or by an exception or a cancellation."""


class SinkRun(ABC):
    """One run in a sink, open for writing. All its operations are called from one thread, one at a time, and may block."""

    @abstractmethod
    def describe(self, metadata: Mapping[str, Json]) -> Result[None, StoreError]:
        """Note what the run is of (`RunInfo.metadata`). Called when it is known: first as a rule, again when a run goes on."""

    @abstractmethod
    def write(self, points: Sequence[MetricPoint], events: Sequence[EventRecord]) -> Result[None, StoreError]:
        """Take records that the store has accepted. None is offered twice by one process."""

    @abstractmethod
    def flush(self) -> Result[None, StoreError]:
        """Bring what was written to where it survives the death of this process."""

    @abstractmethod
    def close(self, ending: Ending) -> Result[None, StoreError]:
        """End the writing; the run may be opened again later, when it goes on."""


class Sink(ABC):
    """Where copies of what runs record go. Made before a run starts: a missing package is an error then."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the sink is called where it is told of."""

    @abstractmethod
    def open(self, run_id: str) -> Result[SinkRun, StoreError]:
        """Begin a run, or go on with one that is where this sink writes.

        It is called from the thread that then writes. Several runs may be open at the same time.
        """


@attrs.frozen(kw_only=True, field_transformer=checked)
class SinkLimits:
    """How much a sink may cost.

    Args:
        seconds: that one call of a sink may take, and that the end of a run waits for all sinks together.
        failures: in a row, after which a sink is left out for the rest of the run.
        records: that may wait for a sink that is slower than the run; those beyond are lost to it.
    """

    seconds: float = attrs.field(default=30.0, metadata=ABOVE_0)
    failures: int = attrs.field(default=3, metadata=AT_LEAST_1)
    records: int = attrs.field(default=100_000, metadata=AT_LEAST_1)


@attrs.frozen(kw_only=True)
class SinkProblem:
    """What a sink did not do; `num_lost` records of the run have not reached it so far.

    >>> str(SinkProblem(sink="wandb", message="it took too long", num_lost=3))
    'sink wandb: it took too long (records lost to it so far: 3)'
    """

    sink: str
    message: str
    num_lost: int = 0

    def __str__(self) -> str:
        lost = f" (records lost to it so far: {self.num_lost})" if self.num_lost else ""
        return f"sink {self.sink}: {self.message}{lost}"


def guarded(place: str, use: Callable[[], T]) -> Result[T, StoreError]:
    """Give what `use` gives; whatever an SDK raises is a value.

    >>> guarded("runs/tb", lambda: 1 / 0).failure().message
    'ZeroDivisionError: division by zero'
    """
    try:
        return Success(use())
    except Exception as error:  # noqa: BLE001  # an SDK raises what it likes, and a sink never stops a run
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Failure(StoreFailed(path=place, message=said))
