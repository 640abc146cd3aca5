"""Distillation by forward KL on a Tinker server: likeliest tokens, soft targets and short-lived versions go over HTTP."""

import pytest

from crucible.effects import Handlers
from crucible.kitchen import Context
from crucible.kitchen.config import EvaluationConfig
from crucible.kitchen.handlers import noop, tinkex
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.workflows import distillation_forward_kl
from crucible.telemetry.events import DistillationEvaluated, DistillationStep
from crucible.testing.tinker_server import serve
from crucible.train.types import AdamParams, ByteTokenizer, DatasetConfig, Row, SamplingConfig, SessionConfig
from tests.kitchen.workflows.runs import ran

ROWS: tuple[Row, ...] = tuple({"prompt": f"{number}?", "completion": "!"} for number in range(4))
CONFIG = DistillationConfig(
    session=SessionConfig(model="noop"),
    dataset=DatasetConfig(name="lessons"),
    teachers=(SamplingConfig(model="other"),),
    evaluation=EvaluationConfig(dataset=DatasetConfig(name="lessons"), num_examples=2),
    epochs=3,
    batch_size=4,
    max_tokens=3,
    learning_rate=1e-3,
    num_top=5,
    schedule="constant",
    adam=AdamParams(),
)


def test_the_kl_falls_and_only_the_final_weights_stay_on_the_server() -> None:
    shelf = noop.Shelf()
    with serve(noop.all(shelf=shelf), models=["noop", "other"]) as server:
        remote = tinkex.TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())
        handlers: Handlers[EveryPort] = noop.all() | noop.datasets(rows={"train": ROWS}) | tinkex.remote(remote)
        run = ran(handlers, distillation_forward_kl(Context.start(CONFIG)))
        run.outcome.unwrap()
        assert len(server.asked("asample")) > 4
    kl = [step.metrics["teacher_kl"] for step in run.events(DistillationStep)]
    assert len(kl) == 3
    assert kl == sorted(kl, reverse=True)
    assert kl[-1] < kl[0]
    assert [event.step for event in run.events(DistillationEvaluated)] == [0, 3]
    assert len(shelf.paths("weights")) == 1
    told = [step.metrics["loss"] - step.metrics["teacher_entropy"] for step in run.events(DistillationStep)]
    assert told == pytest.approx(kl)
