"""A stage of your own, composed with others and run on handlers that need nothing."""

from crucible.effects import Do, Success, perform, tell
from crucible.kitchen import Context, stage
from crucible.kitchen.handlers import noop
from crucible.telemetry.events import DatasetLoaded
from crucible.train.errors import TrainError
from crucible.train.ports import DatasetStore
from crucible.train.types import DatasetConfig, Row


@stage
def load_rows(context: Context[DatasetConfig]) -> Do[TrainError, DatasetStore, Context[tuple[Row, ...]]]:
    """Read a whole dataset."""
    dataset = yield from perform(DatasetStore.load_dataset, context.state)
    rows = yield from perform(DatasetStore.read_rows, dataset)
    yield from tell(DatasetLoaded(dataset=dataset.name, split=dataset.split, num_rows=len(rows)))
    return context.to(rows)


def count(context: Context[tuple[Row, ...]]) -> int:
    """Say how many rows came."""
    return len(context.state)


if __name__ == "__main__":
    work = load_rows(Context.start(DatasetConfig(name="anything"))).map(count)
    assert noop.datasets().run(work) == Success(32)
    print(load_rows.show())
