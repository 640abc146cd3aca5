"""The contract of `MetricsStore`, as a suite that any handler can be put through."""

import math
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from crucible.effects import Do, Handlers, Json, do, perform
from crucible.telemetry.errors import InvalidRecord, StoreError, UnknownRun
from crucible.telemetry.ports import MetricsStore
from crucible.telemetry.types import MetricPoint
from crucible.testing._laws import obey, refused, require_equal

Law: TypeAlias = Do[StoreError, MetricsStore, None]

START = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)

ODD_NUMBERS = (
    math.nan,
    struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0],
    math.inf,
    -math.inf,
    -0.0,
    0.0,
    5e-324,
    0.1 + 0.2,
    1.7976931348623157e308,
)
"""Numbers that some store is known to change."""


def check_metrics_store(make: Callable[[], Handlers[MetricsStore]], *, run_id: str = "contract") -> None:
    """Put the handlers that `make` gives through the contract of `MetricsStore`.

    Args:
        make: gives handlers over an empty store; it is called once for each law.
        run_id: of a run that the store does not have yet.

    Raises: ContractViolationError, which names the promise that is not kept.
    """
    laws = {
        "what is recorded is read, in order of sequence": _reading(run_id),
        "points are found by name and by step": _choosing(run_id),
        "recording again doubles nothing, and the first stands": _repeating(run_id),
        "numbers come back bit for bit": _fidelity(run_id),
        "metadata and names come back as they were": _payloads(run_id),
        "runs are apart, and can be deleted": _runs(run_id),
        "a run without points is unknown": _unknown(run_id),
    }
    obey(make, laws)


def point(sequence: int, *, name: str = "loss", value: float = 1.0, step: int | None = None) -> MetricPoint:
    """Make a point whose timestamp follows from its sequence number."""
    return MetricPoint(
        name=name, value=value, step=step, timestamp=START + timedelta(seconds=sequence), sequence=sequence
    )


@do
def _reading(run_id: str) -> Law:
    points = [point(sequence, value=sequence / 3, step=sequence // 2) for sequence in range(6)]
    require_equal((yield from perform(MetricsStore.record, run_id, points[4:])), 2, "the number of new points")
    require_equal((yield from perform(MetricsStore.record, run_id, points[:4])), 4, "the number of new points")
    require_equal((yield from perform(MetricsStore.record, run_id, ())), 0, "the number of new points of no batch")
    yield from perform(MetricsStore.flush, run_id)
    require_equal((yield from perform(MetricsStore.read, run_id)), tuple(points), "what is read")


@do
def _choosing(run_id: str) -> Law:
    points = [
        point(0, name="loss", step=0),
        point(1, name="lr", step=0),
        point(2, name="loss", step=1),
        point(3, name="loss"),
        point(4, name="a note"),
    ]
    yield from perform(MetricsStore.record, run_id, points)
    require_equal((yield from perform(MetricsStore.list_metrics, run_id)), ("a note", "loss", "lr"), "the names")
    found = yield from perform(MetricsStore.read, run_id, name="loss")
    require_equal(found, (points[0], points[2], points[3]), "the points of one metric")
    found = yield from perform(MetricsStore.read, run_id, since_step=1)
    require_equal(found, (points[2],), "the points from step 1 on")
    found = yield from perform(MetricsStore.read, run_id, name="lr", since_step=0)
    require_equal(found, (points[1],), "the points of one metric from step 0 on")
    require_equal((yield from perform(MetricsStore.read, run_id, name="none")), (), "the points of no metric")


@do
def _repeating(run_id: str) -> Law:
    points = [point(sequence) for sequence in range(4)]
    yield from perform(MetricsStore.record, run_id, points[:3])
    require_equal((yield from perform(MetricsStore.record, run_id, points)), 1, "the number of new points")
    twice = [point(4, value=1.0), point(4, value=2.0), point(0, value=9.0)]
    require_equal((yield from perform(MetricsStore.record, run_id, twice)), 1, "the number of new points")
    require_equal((yield from perform(MetricsStore.read, run_id)), (*points, twice[0]), "what is read")


@do
def _fidelity(run_id: str) -> Law:
    points = tuple(point(sequence, value=value) for sequence, value in enumerate(ODD_NUMBERS))
    yield from perform(MetricsStore.record, run_id, points)
    require_equal((yield from perform(MetricsStore.read, run_id)), points, "what is read")


@do
def _payloads(run_id: str) -> Law:
    metadata: dict[str, Json] = {
        "split": "tést \u2028 \n",
        "nested": {"$float": "no", "list": [1, 1.0, True, None, math.nan]},
        "": "",
    }
    odd = MetricPoint(name='a "b"\n{c}', value=1, step=-1, timestamp=START, metadata=metadata, sequence=2**40)
    yield from perform(MetricsStore.record, run_id, [odd])
    require_equal((yield from perform(MetricsStore.read, run_id)), (odd,), "what is read")


@do
def _runs(run_id: str) -> Law:
    others = (f"{run_id}/../{run_id}", f"{run_id} b", f"{run_id}.metrics")
    for index, other in enumerate((run_id, *others)):
        yield from perform(MetricsStore.record, other, [point(0, value=index)])
    for index, other in enumerate((run_id, *others)):
        require_equal((yield from perform(MetricsStore.read, other)), (point(0, value=index),), f"run {other!r}")
    for _ in range(2):
        yield from perform(MetricsStore.delete_run, run_id)
    yield from refused("reading a deleted run", perform(MetricsStore.read, run_id), UnknownRun)
    for index, other in enumerate(others, start=1):
        require_equal((yield from perform(MetricsStore.read, other)), (point(0, value=index),), f"run {other!r}")
    require_equal((yield from perform(MetricsStore.record, run_id, [point(0)])), 1, "points recorded after a deletion")


@do
def _unknown(run_id: str) -> Law:
    yield from perform(MetricsStore.record, run_id, ())
    yield from perform(MetricsStore.flush, run_id)
    yield from refused("reading an unknown run", perform(MetricsStore.read, run_id), UnknownRun)
    yield from refused("listing an unknown run", perform(MetricsStore.list_metrics, run_id), UnknownRun)
    yield from refused("a run without a name", perform(MetricsStore.record, "", [point(0)]), InvalidRecord)
