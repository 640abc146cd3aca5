"""What is kept on a server, and samplers of live weights."""

import gc
from pathlib import Path
from typing import Literal

import anyio
import attrs
import pytest

from crucible.effects import Do, Handlers, Success, do, perform
from crucible.kitchen.handlers import noop, tinkex, torch
from crucible.kitchen.handlers.tinkex import TinkerBackend, TinkerConfig
from crucible.testing.tinker_server import Server, serve
from crucible.train.errors import InvalidRequest, NotFound, StorageFailed, TrainError, Unsupported
from crucible.train.ports import CustomLossClient, SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    ByteTokenizer,
    Checkpoint,
    Datum,
    LoraConfig,
    ModelInput,
    SamplerWeights,
    SamplingConfig,
    SessionConfig,
    TensorData,
)
from tests.kitchen.handlers.torch.tiny import save_tiny

Remote = Handlers[TrainingClient | CustomLossClient | SamplingClient]
TINY = LoraConfig(rank=4)


def config_of(server: Server) -> TinkerConfig:
    return TinkerConfig(base_url=server.url, api_key=server.api_key, tokenizer=ByteTokenizer())


@do
def saved(model: str) -> Do[TrainError, TrainingClient, tuple[Checkpoint, Checkpoint, SamplerWeights]]:
    session = yield from perform(TrainingClient.start_session, SessionConfig(model=model, lora=TINY))
    inputs = {"target_tokens": TensorData.ints([5] * 4), "weights": TensorData.floats([1.0] * 4)}
    data = [Datum(model_input=ModelInput.from_tokens([4] * 4), loss_fn_inputs=inputs)]
    yield from perform(TrainingClient.forward_backward, session, data)
    yield from perform(TrainingClient.optim_step, session, AdamParams())
    first = yield from perform(TrainingClient.save_checkpoint, session, "kept")
    again = yield from perform(TrainingClient.save_checkpoint, session, "kept")
    weights = yield from perform(TrainingClient.save_sampler_weights, session, "policy")
    return first, again, weights


@pytest.mark.anyio
async def test_checkpoints_are_listed_published_expired_and_deleted() -> None:
    with serve(noop.all(), models=["any"]) as server:
        config = attrs.evolve(config_of(server), ttl_seconds=7200)
        first, again, weights = (await tinkex.remote(config).arun(saved("any"))).unwrap()
        stored = tinkex.checkpoints(config)
        listed = {one.path: one for one in (await stored.list()).unwrap()}
        assert {first.path, again.path, weights.path} == set(listed)
        assert (again.path, again.name) == (f"{first.path}~2", "kept")
        assert [listed[path].step for path in (first.path, weights.path)] == [1, 1]
        assert [listed[path].kind for path in (first.path, weights.path)] == ["training", "sampler"]
        assert listed[first.path].expires_at is not None
        (await stored.publish(first.path)).unwrap()
        (await stored.expire(first.path, None)).unwrap()
        run = first.path.removeprefix("tinker://").partition("/")[0]
        found = next(one for one in (await stored.list(run)).unwrap() if one.path == first.path)
        assert (found.is_public, found.expires_at) == (True, None)
        (await stored.unpublish(first.path)).unwrap()
        (await stored.delete(first.path)).unwrap()
        assert first.path not in {one.path for one in (await stored.list()).unwrap()}
        assert isinstance((await stored.delete(first.path)).failure(), NotFound)
        assert isinstance((await stored.download(weights.path, "nowhere")).failure(), InvalidRequest)


def test_a_trained_adapter_is_downloaded_whole(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    with serve(torch.local(tmp_path / "runs", num_threads=1), models=[model]) as server:
        config = attrs.evolve(config_of(server), tokenizer=None)
        handlers, stored = tinkex.remote(config), tinkex.checkpoints(config)
        first, _, weights = handlers.run(saved(model)).unwrap()
        folder = anyio.run(stored.download, first.path, tmp_path / "adapter").unwrap()
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {file.name for file in folder.iterdir()}
        again = anyio.run(stored.download, first.path, tmp_path / "adapter").failure()
        assert isinstance(again, StorageFailed)
        sampler = handlers.run(
            perform(SamplingClient.start_session, SamplingConfig(model=model, weights_path=weights.path))
        ).unwrap()
        tokenizer = handlers.run(perform(SamplingClient.get_tokenizer, sampler)).unwrap()
        assert tokenizer.decode(tokenizer.encode("hello")) == "hello"
        session = handlers.run(perform(TrainingClient.start_session, SessionConfig(model=model, lora=TINY))).unwrap()
        assert handlers.run(perform(TrainingClient.get_tokenizer, session)).unwrap() == tokenizer


def test_samplers_of_live_weights_are_stored_nowhere() -> None:
    @do
    def sampled() -> Do[TrainError, TrainingClient | SamplingClient, SamplerWeights]:
        session = yield from perform(TrainingClient.start_session, SessionConfig(model="any"))
        weights = yield from perform(TrainingClient.save_sampler_weights, session, "now")
        config = SamplingConfig(model="any", weights_path=weights.path)
        sampler = yield from perform(SamplingClient.start_session, config)
        scored = yield from perform(
            SamplingClient.compute_logprobs, sampler, [ModelInput.from_tokens(one) for one in ((), (5,), (5, 6))]
        )
        assert [len(one) for one in scored] == [0, 1, 2]
        return weights

    with serve(noop.all(), models=["any"]) as server:
        handlers: Remote = tinkex.remote(attrs.evolve(config_of(server), sampler_weights="live"))
        assert handlers.run(sampled()).unwrap().path.startswith("live://")
        assert anyio.run(tinkex.checkpoints(config_of(server)).list).unwrap() == ()


def test_a_server_whose_handlers_have_no_likeliest_tokens_refuses_them_by_name(tmp_path: Path) -> None:
    backend = torch.TorchBackend(tmp_path / "runs", num_threads=1)
    training, sampling = torch.TorchTraining(backend), torch.TorchSampling(backend)
    folder, prompt = save_tiny(tmp_path / "model"), ModelInput.from_tokens([5, 6])
    with serve(TrainingClient.handled_by(training) | SamplingClient.handled_by(sampling), models=[folder]) as server:
        remote = tinkex.remote(config_of(server))
        session = remote.run(perform(SamplingClient.start_session, SamplingConfig(model=folder))).unwrap()
        refused = remote.run(perform(TopLogprobsClient.compute_top_logprobs, session, [prompt], num_top=2)).failure()
        assert isinstance(refused, InvalidRequest | Unsupported)
        assert "topk_prompt_logprobs" in str(refused)
        assert remote.run(perform(TopLogprobsClient.compute_top_logprobs, session, [], num_top=2)).unwrap() == ()
        assert remote.run(perform(SamplingClient.compute_logprobs, session, [prompt])).unwrap()[0][0] is None


@pytest.mark.parametrize("kept", ["saved", "live"])
def test_weights_that_are_deleted_are_deleted_on_the_server_and_on_what_stands_behind_it(
    kept: Literal["saved", "live"],
) -> None:
    shelf = noop.Shelf()
    with serve(noop.all(shelf=shelf), models=["any"]) as server:
        remote: Remote = tinkex.remote(attrs.evolve(config_of(server), sampler_weights=kept))
        training = remote.run(perform(TrainingClient.start_session, SessionConfig(model="any"))).unwrap()
        first, second = (
            remote.run(perform(TrainingClient.save_sampler_weights, training, name)).unwrap() for name in ("a", "b")
        )
        remote.run(perform(TrainingClient.delete_sampler_weights, first)).unwrap()
        for weights, is_there in ((first, False), (second, True)):
            config = SamplingConfig(model="any", weights_path=weights.path)
            opened = remote.run(perform(SamplingClient.start_session, config))
            assert isinstance(opened, Success) == is_there
        if kept == "saved":
            listed = anyio.run(tinkex.checkpoints(config_of(server)).list).unwrap()
            assert [one.path for one in listed] == [second.path]
            assert sum(1 for _ in shelf.paths("weights")) == 1
        checkpoint = remote.run(perform(TrainingClient.save_checkpoint, training, "c")).unwrap()
        other = SamplerWeights(path=checkpoint.path, model="any", step=0)
        refused = remote.run(perform(TrainingClient.delete_sampler_weights, other)).failure()
        assert isinstance(refused, InvalidRequest)


@pytest.mark.anyio
async def test_what_the_server_lacks_is_an_error_and_names_of_files_are_plain() -> None:
    with serve(noop.all(), models=["any", "other"]) as server:
        backend = tinkex.TinkerBackend(config_of(server))
        training = tinkex.TinkerTraining(backend)
        learner = (await training.start_session(SessionConfig(model="any"))).unwrap()
        assert isinstance((await training.save_checkpoint(learner, "../up")).failure(), InvalidRequest)
        kept = (await training.save_checkpoint(learner, "kept")).unwrap()
        other = await training.restore_session(SessionConfig(model="other"), kept.path)
        assert "is of model 'any'" in str(other.failure())
        gone = await training.restore_session(SessionConfig(model="any"), f"{kept.path}-gone")
        assert isinstance(gone.failure(), NotFound)


def test_the_session_of_handlers_that_nobody_holds_any_more_is_let_go() -> None:
    with serve(noop.all(), models=["any"]) as server:
        backend = TinkerBackend(config_of(server))
        service = anyio.run(backend.connect).unwrap().service
        holder = service._get_session_holder()
        assert not holder._closed
        del backend
        gc.collect()
        assert holder._closed
