"""Record a run into a journal; replay it with no handler at all; see where a changed program diverges."""

from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from crucible.effects import Diverged, Journal, record, replay
from crucible.kitchen import Context
from crucible.kitchen.handlers import noop
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.train.types import DatasetConfig, SessionConfig

config = SupervisedConfig(session=SessionConfig(model="noop"), dataset=DatasetConfig(name="conversations"))


def main() -> None:
    """Record on noop handlers, close the journal, open it again, replay."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.journal"
        with Journal.open(path) as journal:
            recorded = record(noop.all(), journal).run(supervised(Context.start(config)))
        with Journal.open(path) as journal:
            assert replay(journal).run(supervised(Context.start(config))) == recorded
            print(f"{len(journal)} calls replayed from {path.stat().st_size} bytes, with no handler behind them")
            changed = attrs.evolve(config, learning_rate=1e-5)
            try:
                replay(journal).run(supervised(Context.start(changed)))
            except Diverged as diverged:
                print(diverged)


if __name__ == "__main__":
    main()
