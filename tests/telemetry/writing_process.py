"""A process that writes a run, step by step, until it has done all or is killed: `writing_process.py FOLDER STEPS PAUSE`."""

import asyncio
import sys
from datetime import UTC, datetime

from crucible.telemetry.events import (
    DatasetBuilt,
    RunOpened,
    SampleShown,
    StageStarted,
    StageStopped,
    WorkflowStarted,
    WorkflowStopped,
)
from crucible.telemetry.stores import SqliteEventStore, SqliteMetricsStore
from crucible.telemetry.types import EventRecord, MetricPoint


async def write(folder: str, num_steps: int, pause: float) -> None:
    """Write run `live` into a folder."""
    events, metrics = SqliteEventStore(folder), SqliteMetricsStore(folder)
    (await events.open_run("live", metadata={"recipe": "talk"})).unwrap()
    sequence = 0

    async def tell(name: str, path: str, **attributes: str | int | float) -> None:
        nonlocal sequence
        record = EventRecord(
            name=name, timestamp=datetime.now(UTC), attributes={"path": path, **attributes}, sequence=sequence
        )
        sequence += 1
        (await events.insert("live", [record])).unwrap()

    await tell(RunOpened.NAME, "")
    await tell(WorkflowStarted.NAME, "sft")
    await tell(DatasetBuilt.NAME, "sft", total_steps=float(num_steps))
    for step in range(1, num_steps + 1):
        path = f"sft/batches[{step}]"
        await tell(StageStarted.NAME, path)
        told = [("loss", 4.0 / step), ("num_tokens", 100.0)]
        points = [
            MetricPoint(name=name, value=value, step=step, timestamp=datetime.now(UTC), sequence=1000 * step + place)
            for place, (name, value) in enumerate(told)
        ]
        (await metrics.record("live", points)).unwrap()
        await tell(SampleShown.NAME, path, step=step, prompt="2 + 2 =", answer=str(step), expected="4")
        await asyncio.sleep(pause)
        await tell(StageStopped.NAME, path)
    await tell(WorkflowStopped.NAME, "sft")


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
