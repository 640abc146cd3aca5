"""With real gradients too: preferences and rewards after supervised training are held against it, and resumed bit for bit."""

import math
from pathlib import Path

import attrs
import pytest

from crucible.kitchen import Context
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.reinforcement import ReinforcementConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import preference, reinforcement, supervised
from crucible.telemetry.events import EpochCompleted, PreferenceStep, ReinforcementStep, TrainingStep
from crucible.train.types import DatasetConfig, LoraConfig, Row, SessionConfig
from tests.kitchen.handlers.torch.tiny import save_tiny
from tests.kitchen.workflows.arenas import letters
from tests.kitchen.workflows.runs import checkpoints_in, ran
from tests.kitchen.workflows.test_learning_on_torch import on_torch

ROWS: tuple[Row, ...] = tuple(
    {"prompt": f"{i}?", "completion": f"yes {i}", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(4)
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> SessionConfig:
    return SessionConfig(model=save_tiny(tmp_path_factory.mktemp("model"), seed=0), lora=LoraConfig(rank=4, seed=1))


def test_after_supervised_training_the_reference_is_what_it_made(session: SessionConfig, tmp_path: Path) -> None:
    handlers, data = on_torch(tmp_path, ROWS), DatasetConfig(name="rows")
    before = SupervisedConfig(
        session=session, dataset=data, epochs=2, batch_size=2, learning_rate=2e-2, save_every=1, schedule="constant"
    )
    first = ran(handlers, supervised(Context.start(before)))
    saved = checkpoints_in(first)
    resumed = ran(handlers, supervised(Context.start(attrs.evolve(before, resume_from=saved[0].path))))
    assert resumed.events(TrainingStep) == first.events(TrainingStep)[1:]
    assert resumed.events(EpochCompleted) == first.events(EpochCompleted)

    duel = PreferenceConfig(
        session=session, dataset=data, batch_size=2, learning_rate=5e-3, save_every=1, start_from=saved[-1].path
    )
    whole = ran(handlers, preference(Context.start(duel)))
    steps = whole.events(PreferenceStep)
    assert steps[0].metrics["loss"] == pytest.approx(math.log(2), abs=1e-4)
    again = attrs.evolve(duel, start_from=None, resume_from=checkpoints_in(whole)[0].path)
    assert ran(handlers, preference(Context.start(again))).events(PreferenceStep) == steps[1:]

    rounds = ReinforcementConfig(
        session=session, dataset=data, batch_size=4, group_size=2, max_tokens=4, kl_coef=0.1, start_from=saved[-1].path
    )
    [round_] = ran(handlers, reinforcement(letters)(Context.start(rounds))).events(ReinforcementStep)
    assert round_.metrics["kl_reference"] == pytest.approx(0, abs=1e-4)
    weights = sorted(path.name for path in (tmp_path / "weights").iterdir())
    assert weights
    assert all(name.startswith("final_weights") for name in weights)
