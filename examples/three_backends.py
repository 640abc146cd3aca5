"""The same workflow on two environments: nothing at all, and a real model trained on this machine."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from crucible.cookbook.models import smollm2
from crucible.kitchen import Recipe, run
from crucible.kitchen.handlers import noop, torch
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import supervised
from crucible.train.types import DatasetConfig, SessionConfig

config = SupervisedConfig(
    session=SessionConfig(model="noop"), dataset=DatasetConfig(name="conversations"), batch_size=8, learning_rate=1e-3
)
recipe = Recipe(name="two_environments", description="", workflow=supervised, default_config=config)


def main() -> None:
    """Run on noop; then, with the argument `torch`, on SmolLM2 too."""
    result = run(recipe, noop.all()).unwrap()
    print("noop ", [round(point.value, 3) for point in result.metrics if point.name == "loss"])
    if "torch" in sys.argv:
        real = attrs.evolve(config, session=SessionConfig(model=smollm2()))
        with TemporaryDirectory() as root:
            result = run(recipe, noop.all() | torch.local(Path(root), num_threads=1), real).unwrap()
        print("torch", [round(point.value, 3) for point in result.metrics if point.name == "loss"])


if __name__ == "__main__":
    main()
