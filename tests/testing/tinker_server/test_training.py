"""Training over HTTP, by the official SDK, on the noop handlers."""

import pytest
import tinker
from tinker import types as wire

from crucible.effects import Call, Handlers, Proceed, Result, perform
from crucible.kitchen.handlers import noop
from crucible.testing.tinker_server import Fault, Hold
from crucible.train.ports import TrainingClient
from crucible.train.types import Datum, ImageChunk, ModelInput, SessionConfig, TensorData
from tests.testing.tinker_server.clients import ADAM, DATA, datum, done, model, served


def logprobs(output: wire.ForwardBackwardOutput) -> list[list[float]]:
    return [list(one["logprobs"].data) for one in output.loss_fn_outputs]


def test_training_lowers_the_loss_and_tells_its_steps() -> None:
    with served() as (_, client):
        trained, losses = model(client), []
        for step in range(1, 5):
            passed, stepped = trained.forward_backward(DATA, "cross_entropy"), trained.optim_step(ADAM)
            losses.append(done(passed).metrics["loss:sum"])
            metrics = done(stepped).metrics
            assert metrics is not None
            assert metrics["step"] == step
            assert metrics["grad_norm"] > 0
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < losses[0]


def test_the_numbers_are_those_the_handlers_give() -> None:
    handlers = noop.all()
    with served(handlers=handlers) as (_, client):
        ours = done(model(client).forward_backward(DATA, "cross_entropy"))
    session = handlers.run(perform(TrainingClient.start_session, SessionConfig(model="any"))).unwrap()
    data = [
        Datum(
            model_input=ModelInput.from_tokens(one.model_input.to_ints()),
            loss_fn_inputs={
                name: TensorData(data=array.data, dtype=array.dtype, shape=tuple(array.shape or ()))
                for name, array in one.loss_fn_inputs.items()
            },
        )
        for one in DATA
    ]
    future = handlers.run(perform(TrainingClient.forward_backward, session, data)).unwrap()
    theirs = handlers.run(perform(TrainingClient.await_, future)).unwrap()
    assert ours.metrics["loss:sum"] == pytest.approx(theirs.loss)
    assert logprobs(ours)[1] == pytest.approx(list(theirs.logprobs[1]), rel=1e-6)


def test_logprobs_come_at_every_position_whatever_its_weight() -> None:
    with served() as (_, client):
        trained = model(client)
        weighted = done(trained.forward_backward(DATA, "cross_entropy"))
        unweighted = done(trained.forward([datum([5, 6, 7, 8, 9], weights=[0] * 4)], "cross_entropy"))
    assert logprobs(weighted)[0] == logprobs(unweighted)[0]
    assert 0.0 not in logprobs(unweighted)[0]
    assert unweighted.metrics["loss:sum"] == 0.0


@pytest.mark.parametrize(
    ("loss_fn", "config"),
    [
        ("importance_sampling", None),
        ("ppo", {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1}),
        ("cispo", None),
        ("dro", {"beta": 0.1}),
    ],
)
def test_every_policy_loss_reaches_the_handlers_with_its_settings(
    loss_fn: wire.LossFnType, config: dict[str, float | str] | None
) -> None:
    with served() as (server, client):
        trained = model(client)
        first = datum([5, 6, 7, 8], weights=[1.0] * 3)
        old = logprobs(done(trained.forward([first], "cross_entropy")))[0]
        data = [datum([5, 6, 7, 8], logprobs=[0.0, *old[1:]], advantages=[0.0, 1.0, -0.5])]
        output = done(trained.forward_backward(data, loss_fn, config))
        again = done(trained.forward(data, loss_fn, config))
        (asked,) = server.asked("forward_backward")
    assert asked.detail["loss_fn"] == loss_fn
    assert asked.detail["loss_fn_config"] == pytest.approx(config or {})
    assert logprobs(output) == logprobs(again) == [pytest.approx(old)]
    assert output.metrics["loss:sum"] == again.metrics["loss:sum"]


def test_a_custom_loss_of_the_sdk_trains() -> None:
    torch = pytest.importorskip("torch")
    with served() as (_, client):
        trained = model(client)

        def loss(data: list[wire.Datum], rows: list[object]) -> tuple[object, dict[str, float]]:
            total = -torch.stack([torch.sum(row) for row in rows]).sum()
            return total, {"mine": float(total.detach())}

        plain = [datum([5, 6, 7])]
        outputs = []
        for _ in range(2):
            passed, stepped = trained.forward_backward_custom(plain, loss), trained.optim_step(ADAM)
            outputs.append(done(passed))
            done(stepped)
    assert outputs[1].metrics["mine"] < outputs[0].metrics["mine"]


def test_batches_in_several_requests_are_one_batch() -> None:
    data = [datum([5, 6, token % 250]) for token in range(1030)]
    with served() as (server, client):
        output = done(model(client).forward_backward(data, "cross_entropy"))
        asked = server.asked("forward_backward")
    assert len(asked) == 2
    assert len(output.loss_fn_outputs) == 1030
    assert {one.seq_id for one in asked} == {1, 2}


def test_sparse_targets_and_images_reach_the_handlers_whole() -> None:
    torch = pytest.importorskip("torch")
    targets, weights = torch.zeros(3, 8, dtype=torch.int64), torch.zeros(3, 8)
    targets[0, 0], targets[2, 1], weights[0, 0], weights[2, 1] = 7, 9, 1.0, 0.5
    wide = wire.Datum(
        model_input=wire.ModelInput(
            chunks=[
                wire.ImageChunk(data=b"jpg", format="jpeg", expected_tokens=1),
                wire.EncodedTextChunk(tokens=[5, 6]),
            ]
        ),
        loss_fn_inputs={
            "target_tokens": wire.TensorData.from_torch_sparse(targets),
            "weights": wire.TensorData.from_torch_sparse(weights),
        },
    )
    seen: list[Datum] = []

    async def look(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.name == "TrainingClient.forward_backward":
            seen.extend(call.arguments[1])  # type: ignore[arg-type]  # the data
        return await proceed(call)

    with served(handlers=noop.all().wrap(look)) as (_, client):
        future = model(client).forward_backward([wide], "cross_entropy")
        with pytest.raises(tinker.RequestFailedError, match="several targets"):
            done(future)
    (found,) = seen
    assert found.loss_fn_inputs["target_tokens"].data == tuple(targets.flatten().tolist())
    assert found.loss_fn_inputs["weights"].data == tuple(weights.flatten().tolist())
    assert found.loss_fn_inputs["weights"].shape == (3, 8)
    image = found.model_input.chunks[0]
    assert isinstance(image, ImageChunk)
    assert (image.data, image.format) == (b"jpg", "jpeg")


def test_requests_of_a_model_pipeline() -> None:
    with served(Fault("forward_backward", Hold("optim_step"))) as (_, client):
        trained = model(client)
        passed, stepped = trained.forward_backward(DATA, "cross_entropy"), trained.optim_step(ADAM)
        assert done(passed).metrics["loss:sum"] > 0
        assert done(stepped).metrics


def test_a_run_goes_on_from_its_checkpoint_as_if_never_ended() -> None:
    def step(trained: tinker.TrainingClient) -> float:
        passed, stepped = trained.forward_backward(DATA, "cross_entropy"), trained.optim_step(ADAM)
        done(stepped)
        return done(passed).metrics["loss:sum"]

    with served() as (_, client):
        first = model(client)
        step(first)
        path = done(first.save_state("one", user_metadata={"crucible_step": "1"})).path
        uninterrupted = step(first)
        resumed = client.create_training_client_from_state_with_optimizer(path).result(timeout=60)
        fresh = client.create_training_client_from_state(path, base_model="any").result(timeout=60)
        assert step(resumed) == step(fresh) == uninterrupted
        assert path == f"tinker://{first.model_id}/weights/one"


@pytest.mark.filterwarnings("ignore:.*load_state:DeprecationWarning", "ignore:.*load_state:FutureWarning")
def test_older_programs_load_a_checkpoint_into_a_model() -> None:
    with served() as (_, client):
        first, second = model(client), model(client)
        before = done(first.forward(DATA, "cross_entropy")).metrics
        path = done(first.save_state("start")).path
        done(second.forward_backward(DATA, "cross_entropy"))
        done(second.optim_step(ADAM))
        assert done(second.load_state_with_optimizer(path)).path == path
        assert done(second.forward(DATA, "cross_entropy")).metrics == before


def failing(handlers: Handlers[TrainingClient]) -> Handlers[TrainingClient]:
    async def around(call: Call, proceed: Proceed) -> Result[object, object]:
        if call.name == "TrainingClient.optim_step":
            raise RuntimeError("a defect")
        return await proceed(call)

    return handlers.wrap(around)


def test_what_cannot_be_done_is_a_failed_future_that_says_whose_fault_it_is() -> None:
    handlers = noop.all() | failing(noop.training(max_length=100))
    with served(handlers=handlers) as (_, client):
        trained = model(client)
        refused = [
            (trained.forward_backward([datum([5, 6], weights=[0])], "cross_entropy"), "no token", "user"),
            (
                trained.forward_backward([datum([5, 6, 7], weights=[1])], "cross_entropy"),
                "weights has 1 entries",
                "user",
            ),
            (trained.forward_backward([datum([5] * 200)], "cross_entropy"), "at most 100 are taken", "user"),
            (trained.forward_backward([datum([5, 6])], "ppo"), "needs logprobs", "user"),
            (trained.forward_backward(DATA, "gspo"), "does not support the loss 'gspo'", "user"),
            (trained.forward_backward(DATA, "dro", {"beta": "high"}), "no text as beta", "user"),
            (trained.optim_step(wire.DimuonParams(learning_rate=0.1)), "dimuon", "user"),
            (trained.optim_step(wire.AdamParams(learning_rate=-1)), "learning_rate", "user"),
            (trained.optim_step(ADAM), "RuntimeError: a defect", "server"),
        ]
        for future, message, category in refused:
            with pytest.raises(tinker.RequestFailedError, match=message) as caught:
                done(future)  # type: ignore[arg-type]  # futures of several types
            assert caught.value.category.value == category
        again = trained.save_state("twice"), trained.save_state("twice"), trained.save_state("twice", overwrite=True)
        assert done(again[0]).path == done(again[2]).path
        with pytest.raises(tinker.RequestFailedError, match="overwrite=True"):
            done(again[1])


def test_a_checkpoint_that_is_not_there_cannot_be_loaded() -> None:
    with served() as (_, client):
        trained = model(client)
        sampled = done(trained.save_weights_for_sampler("s")).path
        saved = done(trained.save_state("x")).path
        for path in ("tinker://no:train:0/weights/x", sampled):
            with pytest.raises(tinker.RequestFailedError, match="was not found"):
                client.create_training_client_from_state(path).result(timeout=60)
        with pytest.raises(tinker.RequestFailedError, match="is of any, not other"):
            client.create_training_client_from_state(saved, base_model="other").result(timeout=60)
