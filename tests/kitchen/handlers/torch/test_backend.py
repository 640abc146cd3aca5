"""The worker thread: the event loop stays free, the order of submission is kept, and a closed session costs nothing."""

import threading
import time

import anyio
import pytest

from crucible.effects import perform
from crucible.kitchen.handlers.torch import TorchBackend, TorchTraining
from crucible.kitchen.handlers.torch.training import KEPT_RESULTS
from crucible.train.errors import InvalidRequest, SessionClosed
from crucible.train.ports import TrainingClient
from crucible.train.types import (
    AdamParams,
    Datum,
    ForwardBackwardOutput,
    Future,
    LoraConfig,
    ModelInput,
    SessionConfig,
    TensorData,
    TrainingSession,
)

CONFIG = LoraConfig(rank=4)


def datum(size: int = 100) -> Datum:
    inputs = {"target_tokens": TensorData.ints([5] * size), "weights": TensorData.floats([1.0] * size)}
    return Datum(model_input=ModelInput.from_tokens([4] * size), loss_fn_inputs=inputs)


@pytest.fixture
def training(shared_backend: TorchBackend) -> TorchTraining:
    return TorchTraining(shared_backend)


async def start(training: TorchTraining, model: str) -> TrainingSession:
    return (await training.start_session(SessionConfig(model=model, lora=CONFIG))).unwrap()


@pytest.mark.anyio
async def test_the_event_loop_ticks_while_a_pass_runs(training: TorchTraining, tiny_folder: str) -> None:
    session = await start(training, tiny_folder)
    ticks: list[float] = []
    done = anyio.Event()

    async def tick() -> None:
        while not done.is_set():
            ticks.append(time.perf_counter())
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        began = time.perf_counter()
        future = (await training.forward_backward(session, [datum()] * 150)).unwrap()
        submitted = time.perf_counter()
        (await training.await_(future)).unwrap()
        ended = time.perf_counter()
        done.set()
    during = [at for at in ticks if began < at < ended]
    assert len(during) >= 5
    assert submitted - began < (ended - began) / 2, "submitting waits for the work"


@pytest.mark.anyio
async def test_work_is_done_in_the_order_it_was_submitted(training: TorchTraining, tiny_folder: str) -> None:
    session, twin = await start(training, tiny_folder), await start(training, tiny_folder)
    rate = AdamParams(learning_rate=0.1)
    futures: list[Future[ForwardBackwardOutput]] = []
    for _ in range(3):
        futures.append((await training.forward_backward(session, [datum(9)])).unwrap())
        (await training.optim_step(session, rate)).unwrap()
    together = [(await training.await_(future)).unwrap().loss for future in reversed(futures)][::-1]
    one_by_one = []
    for _ in range(3):
        future = (await training.forward_backward(twin, [datum(9)])).unwrap()
        one_by_one.append((await training.await_(future)).unwrap().loss)
        (await training.await_((await training.optim_step(twin, rate)).unwrap())).unwrap()
    assert together == one_by_one
    assert len(set(together)) == 3


@pytest.mark.anyio
async def test_cancelling_the_wait_leaves_the_work(training: TorchTraining, tiny_folder: str) -> None:
    session = await start(training, tiny_folder)
    future = (await training.forward_backward(session, [datum()] * 50)).unwrap()
    with anyio.move_on_after(0.001) as scope:
        await training.await_(future)
    assert scope.cancelled_caught
    assert (await training.await_(future)).unwrap().loss > 0


@pytest.mark.anyio
async def test_closing_drops_what_has_not_begun(
    training: TorchTraining, shared_backend: TorchBackend, tiny_folder: str
) -> None:
    session, other = await start(training, tiny_folder), await start(training, tiny_folder)
    gate = threading.Event()
    shared_backend.submit(gate.wait)
    dropped = (await training.forward_backward(session, [datum()])).unwrap()
    kept = (await training.forward_backward(other, [datum()])).unwrap()
    (await training.close_session(session)).unwrap()
    gate.set()
    assert (await training.await_(dropped)).failure() == SessionClosed(session_id=session.id)
    assert (await training.await_(kept)).unwrap().loss > 0


@pytest.mark.anyio
async def test_results_of_a_long_run_are_not_all_kept(training: TorchTraining, tiny_folder: str) -> None:
    session = await start(training, tiny_folder)
    futures = []
    for _ in range(KEPT_RESULTS + 2):
        futures.append((await training.forward(session, [datum(1)])).unwrap())
        (await training.await_(futures[-1])).unwrap()
    assert isinstance((await training.await_(futures[0])).failure(), InvalidRequest)
    assert (await training.await_(futures[2])).unwrap() == (await training.await_(futures[-1])).unwrap()
    assert (await training.close_session(session)).unwrap() is None
    assert isinstance((await training.await_(futures[-1])).failure(), InvalidRequest)


def test_a_backend_serves_one_event_loop_after_another(training: TorchTraining, tiny_folder: str) -> None:
    handlers = TrainingClient.handled_by(training)
    session = handlers.run(perform(TrainingClient.start_session, SessionConfig(model=tiny_folder))).unwrap()
    assert handlers.run(perform(TrainingClient.get_tokenizer, session)).unwrap().eos_token == 1


@pytest.mark.anyio
async def test_sessions_of_one_model_share_its_weights(
    training: TorchTraining, shared_backend: TorchBackend, tiny_folder: str
) -> None:
    await start(training, tiny_folder)
    first = (await shared_backend.load(tiny_folder)).unwrap()
    await start(training, tiny_folder)
    assert (await shared_backend.load(tiny_folder)).unwrap() is first
