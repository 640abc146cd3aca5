"""Opening a run in the EventStore, and claiming the numbers under which a process records what happens in it."""

from collections.abc import Mapping
from datetime import datetime

from crucible.effects import Do, Json, do, perform
from crucible.telemetry.errors import StoreError
from crucible.telemetry.events import RunOpened
from crucible.telemetry.numbering import NUMBERS_OF_A_WRITER
from crucible.telemetry.ports import EventStore
from crucible.telemetry.types import EventFilter, EventRecord


@do
def opened(run_id: str, metadata: Mapping[str, Json], *, now: datetime) -> Do[StoreError, EventStore, int]:
    """Open a run, and give the number before the first that is this process's own.

    A run that goes on, and two processes that write one run, never share a number: whoever inserts the first event of a range
    has it, for the store keeps the first record of a number and tells who was late.
    """
    yield from perform(EventStore.open_run, run_id, metadata=metadata)
    newest = yield from perform(EventStore.query, run_id, EventFilter(last=1))
    writer = max((event.sequence // NUMBERS_OF_A_WRITER + 1 for event in newest), default=0)
    while True:
        number = writer * NUMBERS_OF_A_WRITER
        first = EventRecord(name=RunOpened.NAME, timestamp=now, attributes={"writer": writer}, sequence=number)
        if (yield from perform(EventStore.insert, run_id, [first])):
            return number
        writer += 1


def unclaimed(now: datetime) -> int:
    """Give a number to go on from where the store cannot be asked: the microseconds since 1970.

    What a store cannot tell now may be there all the same, and a number used twice loses its second record.
    """
    return int(now.timestamp() * 1e6)
