"""On a server that averages, every workflow trains as on one that sums: the same steps, losses, norms and weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.effects import Do, Failure, Handlers, do, perform
from crucible.kitchen import Context
from crucible.kitchen.handlers.noop import EveryPort
from crucible.kitchen.handlers.tinkex.batches import Batch
from crucible.kitchen.handlers.tinkex.losses import configured
from crucible.kitchen.handlers.tinkex.summing import Window, summed
from crucible.kitchen.stages.distillation import DistillationConfig
from crucible.kitchen.stages.preference import PreferenceConfig
from crucible.kitchen.stages.supervised import SupervisedConfig
from crucible.kitchen.workflows import distillation, preference, reinforcement, supervised
from crucible.telemetry.events import DistillationStep, PreferenceStep, ReinforcementStep, TrainingStep
from crucible.testing import check_capabilities, check_custom_loss_client, check_training_client
from crucible.testing.tinker_server import Deviations
from crucible.train.algorithms.policy_gradient import grpo
from crucible.train.custom_loss import CustomLossOutput
from crucible.train.errors import TrainError, Unsupported
from crucible.train.ports import CustomLossClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Capabilities,
    DatasetConfig,
    Datum,
    LossFn,
    ModelInput,
    OptimStepOutput,
    Row,
    SamplingConfig,
    SessionConfig,
    TensorData,
)
from tests.kitchen.handlers.tinkex.servers import AVERAGES, MODEL, serving
from tests.kitchen.workflows.arenas import BASE as ARENA
from tests.kitchen.workflows.arenas import RIDDLES, letters
from tests.kitchen.workflows.runs import on_nothing, ran

SESSION, DATASET = SessionConfig(model=MODEL), DatasetConfig(name="rows")
ROWS: tuple[Row, ...] = tuple({"prompt": f"{n}?", "completion": "yes" + "!" * n} for n in range(5))
PAIRS: tuple[Row, ...] = tuple({"prompt": f"{n}?", "chosen": "yes" + "!" * n, "rejected": "no way"} for n in range(5))
COMMON: Mapping[str, Any] = {
    "session": SESSION,
    "dataset": DATASET,
    "batch_size": 2,
    "epochs": 2,
    "learning_rate": 1e-2,
    "adam": AdamParams(grad_clip_norm=0.5, eps=1e-3),
}
AVERAGING = Capabilities(
    loss_reduction="mean", negative_weights=False, divided_by=("positions", "sequences"), known_by="probed"
)


def told(handlers: Handlers[EveryPort], workflow: Any, config: object, event: type[Any]) -> list[dict[str, Any]]:
    """Give the numbers of each step."""
    run = ran(handlers, workflow(Context.start(config)))
    run.outcome.unwrap()
    return [{**attrs.asdict(step), **getattr(step, "metrics", {})} for step in run.events(event)]


@pytest.mark.parametrize(
    ("workflow", "config", "event", "rows"),
    [
        (preference, PreferenceConfig(**COMMON), PreferenceStep, PAIRS),
        (supervised, SupervisedConfig(**COMMON), TrainingStep, ROWS),
        (
            distillation,
            DistillationConfig(**COMMON, teachers=(SamplingConfig(model="other"),), max_tokens=3, group_size=1),
            DistillationStep,
            ROWS,
        ),
        (
            reinforcement(letters),
            attrs.evolve(ARENA, algorithm=grpo(), kl_coef=0.1, num_minibatches=2, adam=COMMON["adam"]),
            ReinforcementStep,
            RIDDLES,
        ),
    ],
    ids=["dpo", "supervised", "distillation", "grpo"],
)
def test_a_workflow_trains_as_where_losses_are_sums(
    workflow: Any, config: object, event: type[Any], rows: Sequence[Row]
) -> None:
    with serving(before=on_nothing(rows)) as summing:
        here = told(summing.handlers, workflow, config, event)
    with serving(AVERAGES, before=on_nothing(rows)) as there:
        far = told(there.handlers, workflow, config, event)
    assert len(here) == len(far) > 1
    for mine, theirs in zip(here, far, strict=True):
        numbers = {name: value for name, value in mine.items() if isinstance(value, float)}
        assert numbers
        assert {name: theirs[name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-6)


def test_preferences_are_learned_where_weights_below_0_are_ignored() -> None:
    config = PreferenceConfig(**COMMON)
    here = told(on_nothing(PAIRS), preference, config, PreferenceStep)
    with serving(Deviations(lacks=["negative_weights"]), before=on_nothing(PAIRS)) as there:
        far = told(there.handlers, preference, config, PreferenceStep)
    assert [step["loss"] for step in far] == pytest.approx([step["loss"] for step in here], rel=1e-4)


@attrs.frozen(kw_only=True)
class WeightedMean:
    """The mean log-probability of a batch, with weights of both signs."""

    factor: float

    def __call__(self, logprobs: Sequence[Sequence[float]], /) -> CustomLossOutput:
        slopes = tuple(tuple(self.factor * (-1) ** place for place, _ in enumerate(row)) for row in logprobs)
        pairs = zip(logprobs, slopes, strict=True)
        value = sum(logprob * slope for row, each in pairs for logprob, slope in zip(row, each, strict=True))
        return CustomLossOutput(loss=value, gradients=slopes)


def datum(length: int, weights: Sequence[float]) -> Datum:
    tokens = list(range(5, 6 + length))
    inputs = {"target_tokens": TensorData.ints(tokens[1:]), "weights": TensorData.floats(weights)}
    return Datum(model_input=ModelInput.from_tokens(tokens[:-1]), loss_fn_inputs=inputs)


@do
def steps(
    batches: Sequence[Sequence[Datum]], needs: tuple[Any, ...]
) -> Do[TrainError, TrainingClient | CustomLossClient, list[OptimStepOutput]]:
    """Take two steps, each on all batches."""
    session = yield from perform(TrainingClient.start_session, attrs.evolve(SESSION, needs=needs))
    done = []
    for _ in range(2):
        for batch in batches:
            passed = yield from perform(TrainingClient.forward_backward, session, batch)
            yield from perform(TrainingClient.await_, passed)
        step = yield from perform(
            TrainingClient.optim_step, session, AdamParams(learning_rate=0.01, grad_clip_norm=1.0)
        )
        done.append((yield from perform(TrainingClient.await_, step)))
    return done


def test_gradients_of_several_batches_add_up_on_a_server_that_divides_by_all_their_sequences() -> None:
    batches = [[datum(3, [1, 1, 1])], [datum(5, [1, 0, 2, 1, 0.5]), datum(2, [1, 0])]]
    here = on_nothing(ROWS).run(steps(batches, ())).unwrap()
    with serving(AVERAGES) as there:
        far = there.handlers.run(steps(batches, ("cross_entropy",))).unwrap()
    assert [step.grad_norm for step in far] == pytest.approx([step.grad_norm for step in here], rel=1e-4)


def test_a_custom_loss_is_right_where_nobody_asked_about_the_server() -> None:
    @do
    def trained() -> Do[TrainError, TrainingClient | CustomLossClient, float]:
        session = yield from perform(TrainingClient.start_session, SESSION)
        loss = WeightedMean(factor=2.0)
        passed = yield from perform(CustomLossClient.forward_backward_custom, session, [datum(2, [1, 1])], loss)
        yield from perform(TrainingClient.await_, passed)
        step = yield from perform(TrainingClient.optim_step, session, AdamParams())
        return (yield from perform(TrainingClient.await_, step)).grad_norm or 0.0

    here = on_nothing(ROWS).run(trained()).unwrap()
    with serving(AVERAGES) as there:
        assert there.handlers.run(trained()).unwrap() == pytest.approx(here, rel=1e-4)


def test_the_contracts_of_training_hold_on_a_server_that_averages() -> None:
    with serving(AVERAGES) as there:
        check_capabilities(lambda: there.handlers, model=MODEL)
        check_training_client(lambda: there.handlers, model=MODEL)
        check_custom_loss_client(lambda: there.handlers, model=MODEL)


@given(
    weights=st.lists(st.floats(-3, 3, width=32).map(lambda weight: weight or 1.0), min_size=1, max_size=6),
    copies=st.integers(1, 4),
)
def test_what_an_averaging_server_makes_of_what_is_sent_is_the_sum(weights: list[float], copies: int) -> None:
    batch = Batch(data=(datum(len(weights), weights),) * copies, loss=configured("cross_entropy", None).unwrap())
    sent = summed(batch, AVERAGING, Window()).unwrap()
    assert (sent.loss_fn, sent.config) == ("cispo", {"clip_low_threshold": 1.0, "clip_high_threshold": 1.0})
    for one in sent.data:
        divided = [advantage / len(weights) / copies for advantage in one.loss_fn_inputs["advantages"].data]
        assert divided == pytest.approx(weights)


@pytest.mark.parametrize("capabilities", [None, Capabilities(), attrs.evolve(AVERAGING, divided_by=None)])
def test_a_batch_goes_as_it_is_where_nothing_is_to_be_done_or_known(capabilities: Capabilities | None) -> None:
    batch = Batch(data=(datum(2, [1, -1]),), loss=configured("cross_entropy", None).unwrap())
    assert summed(batch, capabilities, Window()).unwrap().data is batch.data


@pytest.mark.parametrize("loss_fn", ["dro", "cross_entropy"])
def test_what_cannot_be_sent_as_a_sum_is_refused_in_words(loss_fn: LossFn) -> None:
    wide = TensorData(data=(6, 7), dtype="int64", shape=(1, 2))
    inputs = {
        "dro": {name: TensorData.floats([1.0]) for name in ("logprobs", "advantages")}
        | {"target_tokens": TensorData.ints([6])},
        "cross_entropy": {"target_tokens": wide, "weights": TensorData(data=(0.5, 0.5), dtype="float32", shape=(1, 2))},
    }[loss_fn]
    one = Datum(model_input=ModelInput.from_tokens([5]), loss_fn_inputs=inputs)
    refused = summed(Batch(data=(one,), loss=configured(loss_fn, None).unwrap()), AVERAGING, Window())
    assert isinstance(refused, Failure)
    assert isinstance(refused.failure(), Unsupported)
