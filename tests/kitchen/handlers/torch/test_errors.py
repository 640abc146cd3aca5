"""What a user can get wrong is a Failure in words, from the handler to the end of a run; nothing is left half done."""

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from crucible.effects import Do, Eff, Failure, Handlers, do, perform
from crucible.kitchen import run
from crucible.kitchen.handlers import torch as torch_handlers
from crucible.kitchen.handlers.torch import TorchBackend, TorchSampling, TorchTraining
from crucible.kitchen.handlers.torch.backend import checked_name
from crucible.train.errors import (
    BackendFailed,
    InvalidRequest,
    MissingExtra,
    NonFiniteLoss,
    NotFound,
    SequenceTooLong,
    SessionClosed,
    StorageFailed,
    TrainError,
    Unsupported,
)
from crucible.train.ports import SamplingClient, TopLogprobsClient, TrainingClient
from crucible.train.types import (
    AdamParams,
    Checkpoint,
    Datum,
    EncodedTextChunk,
    ForwardBackwardOutput,
    ImageChunk,
    LoraConfig,
    ModelInput,
    SamplingConfig,
    SamplingParams,
    SessionConfig,
    TensorData,
    TrainingSession,
)
from tests.kitchen.handlers.torch.tiny import config_for, on_this_machine, recipe

Training = Do[TrainError, TrainingClient, object]
LORA = LoraConfig(rank=4)


@pytest.fixture
def handlers(shared_backend: TorchBackend) -> Handlers[TrainingClient | SamplingClient]:
    training, sampling = TorchTraining(shared_backend), TorchSampling(shared_backend)
    return TrainingClient.handled_by(training) | SamplingClient.handled_by(sampling)


def datum(size: int = 6, *, weight: float = 1.0) -> Datum:
    inputs = {"target_tokens": TensorData.ints([5] * size), "weights": TensorData.floats([weight] * size)}
    return Datum(model_input=ModelInput.from_tokens([4] * size), loss_fn_inputs=inputs)


def opened(model: str) -> Eff[TrainingSession, TrainError, TrainingClient]:
    return perform(TrainingClient.start_session, SessionConfig(model=model, lora=LORA))


@do
def learned(session: TrainingSession, data: Sequence[Datum]) -> Do[TrainError, TrainingClient, ForwardBackwardOutput]:
    future = yield from perform(TrainingClient.forward_backward, session, data)
    return (yield from perform(TrainingClient.await_, future))


def error_of(
    handlers: Handlers[TrainingClient | SamplingClient],
    eff: Eff[object, TrainError, TrainingClient] | Eff[object, TrainError, SamplingClient],
) -> TrainError:
    result = handlers.run(eff)
    assert isinstance(result, Failure)
    error: TrainError = result.failure()
    return error


class TestModels:
    @pytest.mark.parametrize(
        "name", ["nobody/nothing", "no-such-model", "/no/such/folder", "./missing", "/no/model.gguf"]
    )
    def test_an_unknown_model_is_not_found_offline(
        self, handlers: Handlers[TrainingClient | SamplingClient], name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        for eff in (opened(name), perform(SamplingClient.start_session, SamplingConfig(model=name))):
            error = error_of(handlers, eff)
            assert isinstance(error, NotFound)
            assert (error.kind, error.name) == ("model", name)
            assert "check the path" in error.fix or "give the path of a local copy when offline" in error.fix

    def test_a_folder_without_a_model_says_so(
        self, handlers: Handlers[TrainingClient | SamplingClient], tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text("{}")
        error = error_of(handlers, opened(str(tmp_path)))
        assert isinstance(error, BackendFailed)
        assert str(tmp_path) in str(error)

    def test_a_broken_gguf_says_so(self, handlers: Handlers[TrainingClient | SamplingClient], tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_bytes(b"GGUF and then nothing")
        error = error_of(handlers, opened(str(tmp_path / "model.gguf")))
        assert isinstance(error, BackendFailed)
        assert "model.gguf cannot be loaded" in str(error)

    def test_adapters_on_no_layer_are_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        lora = LoraConfig(train_mlp=False, train_attn=False)
        starting = perform(TrainingClient.start_session, SessionConfig(model=tiny_folder, lora=lora))
        assert isinstance(error_of(handlers, starting), InvalidRequest)


class TestBatches:
    def test_weights_without_bound_give_a_loss_that_is_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        error = error_of(handlers, learned(session, [datum(), datum(weight=math.inf)]))
        assert isinstance(error, NonFiniteLoss)
        assert error.indices == (1,)
        assert "from items 1: lower the learning rate" in str(error)
        stepping = perform(TrainingClient.optim_step, session, AdamParams()).bind(
            lambda future: perform(TrainingClient.await_, future)
        )
        assert "forward_backward before optim_step" in str(error_of(handlers, stepping))

    def test_a_sequence_longer_than_the_model_names_the_item(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        error = error_of(handlers, learned(session, [datum(), datum(session.max_length + 1)]))
        assert error == SequenceTooLong(index=1, length=129, limit=128)
        assert "at most 128 are taken" in str(error)

    def test_images_are_not_taken_for_token_zero(self, shared_backend: TorchBackend, tiny_folder: str) -> None:
        training, sampling = TorchTraining(shared_backend), TorchSampling(shared_backend)
        handlers = (
            TrainingClient.handled_by(training)
            | SamplingClient.handled_by(sampling)
            | TopLogprobsClient.handled_by(sampling)
        )
        image = ImageChunk(data=b"png", format="png", expected_tokens=3)
        seen = ModelInput(chunks=(EncodedTextChunk(tokens=(4, 4, 4)), image))
        session = handlers.run(opened(tiny_folder)).unwrap()
        sampler = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model=tiny_folder))).unwrap()
        text = ModelInput.from_tokens([4])
        for eff in (
            learned(session, [datum(), attrs.evolve(datum(), model_input=seen)]),
            perform(SamplingClient.sample, sampler, [text, seen], SamplingParams()),
            perform(SamplingClient.compute_logprobs, sampler, [text, seen]),
            perform(TopLogprobsClient.compute_top_logprobs, sampler, [text, seen], num_top=1),
        ):
            error = handlers.run(eff).failure()
            assert isinstance(error, Unsupported)
            assert str(error) == "the torch handler does not support images (item 1)"

    def test_wrong_names_of_losses_and_settings_list_the_known_ones(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        unknown = perform(TrainingClient.forward, session, [datum()], loss_fn="mse")  # type: ignore[arg-type]  # on purpose
        setting = perform(TrainingClient.forward, session, [datum()], loss_fn_config={"clip": 1.0})
        for eff in (unknown, setting):
            error = error_of(handlers, eff.bind(lambda future: perform(TrainingClient.await_, future)))
            assert isinstance(error, InvalidRequest)
        assert "cross_entropy" in str(error_of(handlers, unknown.bind(lambda f: perform(TrainingClient.await_, f))))

    @pytest.mark.parametrize(("wrong", "name"), [({"beta1": 1.0}, "beta1"), ({"eps": -1.0}, "eps")])
    def test_settings_that_the_optimizer_cannot_take_are_no_settings(self, wrong: dict[str, float], name: str) -> None:
        with pytest.raises(ValueError, match=name):
            AdamParams(**wrong)

    @pytest.mark.parametrize("wrong", [{"top_k": 0}, {"stop": ("",)}])
    def test_settings_that_the_sampler_cannot_take_are_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str, wrong: dict[str, Any]
    ) -> None:
        sampler = handlers.run(perform(SamplingClient.start_session, SamplingConfig(model=tiny_folder))).unwrap()
        params = attrs.evolve(SamplingParams(), **wrong)
        error = error_of(handlers, perform(SamplingClient.sample, sampler, [ModelInput.from_tokens([4])], params))
        assert isinstance(error, InvalidRequest)
        assert next(iter(wrong)) in str(error)


class TestSessions:
    def test_nothing_of_another_handler_is_taken_for_ones_own(
        self, shared_backend: TorchBackend, tiny_folder: str
    ) -> None:
        mine, other = (TrainingClient.handled_by(TorchTraining(shared_backend)) for _ in range(2))

        @do
        def submitted() -> Do[TrainError, TrainingClient, tuple[object, object]]:
            session = yield from opened(tiny_folder)
            return session, (yield from perform(TrainingClient.forward, session, [datum()]))

        session, future = mine.run(submitted()).unwrap()
        other.run(submitted()).unwrap()
        assert isinstance(session, TrainingSession)
        assert other.run(perform(TrainingClient.get_tokenizer, session)).failure() == SessionClosed(
            session_id=session.id
        )
        foreign = other.run(perform(TrainingClient.await_, future)).failure()  # type: ignore[arg-type]  # any future
        assert isinstance(foreign, InvalidRequest)
        assert "await a future on the handler that gave it" in str(foreign)

    def test_a_closed_session_says_how_to_start_one(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        handlers.run(perform(TrainingClient.close_session, session)).unwrap()
        error = error_of(handlers, learned(session, [datum()]))
        assert error == SessionClosed(session_id=session.id)
        assert "start one with start_session" in str(error)


class TestSaving:
    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/x", "../up", ".hidden", "a\0b", "a\n"])
    def test_a_name_that_is_no_plain_folder_name_is_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str, name: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        for operation in (TrainingClient.save_checkpoint, TrainingClient.save_sampler_weights):
            error = error_of(handlers, perform(operation, session, name))
            assert isinstance(error, InvalidRequest)
            assert "without slashes" in str(error)

    def test_of_weights_alone_that_were_saved_here_the_folder_is_removed(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str, tmp_path: Path
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        first, second = (
            handlers.run(perform(TrainingClient.save_sampler_weights, session, "version")).unwrap() for _ in range(2)
        )
        handlers.run(perform(TrainingClient.delete_sampler_weights, first)).unwrap()
        assert not Path(first.path).exists()
        assert (Path(second.path) / "adapter_model.safetensors").exists()
        kept = tmp_path / "kept"
        kept.mkdir()
        (Path(first.path).parent / "link").symlink_to(kept, target_is_directory=True)
        places = [kept, Path(second.path).parent, Path(second.path) / "..", Path(first.path).parent / "link", Path()]
        for path in places:
            other = attrs.evolve(second, path=str(path))
            error = error_of(handlers, perform(TrainingClient.delete_sampler_weights, other))
            assert isinstance(error, InvalidRequest)
            assert path.exists()
        (Path(first.path).parent / "link").unlink()

    def test_a_folder_that_cannot_be_removed_is_an_error(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        session = handlers.run(opened(tiny_folder)).unwrap()
        weights = handlers.run(perform(TrainingClient.save_sampler_weights, session, "broken")).unwrap()
        file = Path(weights.path).with_name("a_file")
        file.write_text("no folder")
        removing = perform(TrainingClient.delete_sampler_weights, attrs.evolve(weights, path=str(file)))
        assert isinstance(error_of(handlers, removing), StorageFailed)

    @pytest.mark.parametrize("name", ["step_000100", "a b", "ünïcödé", "v1.2"])
    def test_a_plain_name_is_taken(self, name: str) -> None:
        assert checked_name(name).unwrap() == name

    def test_a_checkpoint_of_another_model_is_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str, other_folder: str
    ) -> None:
        saved = handlers.run(saving(tiny_folder)).unwrap()
        restoring = perform(TrainingClient.restore_session, SessionConfig(model=other_folder, lora=LORA), saved.path)
        error = error_of(handlers, restoring)
        assert isinstance(error, InvalidRequest)
        assert "another base model" in str(error)

    def test_a_checkpoint_of_another_rank_is_refused(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        saved = handlers.run(saving(tiny_folder)).unwrap()
        config = SessionConfig(model=tiny_folder, lora=LoraConfig(rank=8))
        error = error_of(handlers, perform(TrainingClient.restore_session, config, saved.path))
        assert "rank 4" in str(error)
        assert "rank 8" in str(error)

    def test_a_damaged_checkpoint_names_the_file(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        saved = handlers.run(saving(tiny_folder)).unwrap()
        (Path(saved.path) / "training_state.safetensors").write_bytes(b"")
        restoring = perform(TrainingClient.restore_session, SessionConfig(model=tiny_folder, lora=LORA), saved.path)
        error = error_of(handlers, restoring)
        assert isinstance(error, StorageFailed)
        assert "training_state.safetensors is missing or damaged" in str(error)

    def test_a_checkpoint_is_nothing_to_sample_from(
        self, handlers: Handlers[TrainingClient | SamplingClient], tiny_folder: str
    ) -> None:
        saved = handlers.run(saving(tiny_folder)).unwrap()
        starting = perform(SamplingClient.start_session, SamplingConfig(model=tiny_folder, weights_path=saved.path))
        assert "save_sampler_weights" in str(error_of(handlers, starting))

    def test_a_root_that_cannot_be_written_is_a_storage_failure(self, tiny_folder: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        error = torch_handlers.local(tmp_path / "file" / "runs").run(saving(tiny_folder)).failure()
        assert isinstance(error, StorageFailed)
        assert "To fix:" in str(error)


@do
def saving(model: str) -> Do[TrainError, TrainingClient, Checkpoint]:
    session = yield from opened(model)
    return (yield from perform(TrainingClient.save_checkpoint, session, "first"))


class TestMemory:
    def test_running_out_of_it_is_an_error_that_says_what_to_make_smaller(self, tmp_path: Path) -> None:
        import torch

        def exhaust() -> object:
            return torch.empty(2**60, dtype=torch.uint8)

        backend = TorchBackend(tmp_path)
        result = backend.submit(exhaust).result()
        assert isinstance(result.failure(), BackendFailed)
        assert "smaller batch_size or max_length" in str(result.failure())

    def test_another_fault_stays_a_fault(self, tmp_path: Path) -> None:
        import torch

        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            TorchBackend(tmp_path).submit(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3)).result()


class TestWholeRuns:
    """The same errors at the end of a whole run, with the stage in which they arose."""

    def failed(self, root: Path, model: str, **changes: Any) -> str:
        result = run(recipe(config_for(model, **changes)), on_this_machine(root))
        assert isinstance(result, Failure)
        return str(result.failure())

    def test_an_unknown_model(self, root: Path) -> None:
        message = self.failed(root, "/no/such/model")
        assert "supervised/init_session" in message
        assert "model '/no/such/model' was not found" in message

    def test_a_limit_above_the_models(self, root: Path, tiny_folder: str) -> None:
        message = self.failed(root, tiny_folder, max_length=129)
        assert "max_length 129 is more than" in message
        assert "at most 128" in message

    def test_rows_above_the_limit(self, root: Path, tiny_folder: str) -> None:
        assert "item 0 has" in self.failed(root, tiny_folder, max_length=20)

    def test_a_checkpoint_that_is_not_there(self, root: Path, tiny_folder: str) -> None:
        message = self.failed(root, tiny_folder, resume_from=str(root / "checkpoints/step_000004"))
        assert "checkpoint" in message
        assert "was not found" in message


def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    program = """
import sys
for name in ("torch", "transformers", "safetensors"):
    sys.modules[name] = None  # as if it were not installed
from crucible.effects import perform
from crucible.kitchen.handlers import torch
from crucible.train.ports import SamplingClient, TrainingClient
from crucible.train.types import SamplingConfig, SessionConfig
handlers = torch.local(sys.argv[1])
for eff in (
    perform(TrainingClient.start_session, SessionConfig(model="m")),
    perform(TrainingClient.restore_session, SessionConfig(model="m"), "path"),
    perform(SamplingClient.start_session, SamplingConfig(model="m")),
):
    print(type(handlers.run(eff).failure()).__name__, handlers.run(eff).failure())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    expected = f"{MissingExtra.__name__} torch is not installed: pip install 'crucible-llm[torch]'"
    assert done.stdout.splitlines() == [expected] * 3
    assert done.stderr == ""
