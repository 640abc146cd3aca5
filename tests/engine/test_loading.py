"""Loading: what is there loads frozen, what is not is told with the fix."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crucible.engine import LoadedModel, ModelLoadError, ModelNotFoundError, Sampler, Trainer, load_model
from tests.engine.hub import serving
from tests.engine.tiny import EOS, LORA, VOCAB, example, tiny_model


@pytest.fixture(scope="module")
def directory(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny.model.save_pretrained(path)
    tiny.tokenizer.save_pretrained(path)
    return path


def test_a_directory_loads_as_it_was_saved(tiny: LoadedModel, directory: Path) -> None:
    loaded = load_model(directory)
    assert (loaded.name, loaded.max_length, loaded.vocab_size, loaded.eos_ids) == (str(directory), 128, VOCAB, (EOS,))
    assert loaded.fingerprint == tiny.fingerprint
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not loaded.model.training
    assert Sampler(loaded).logprobs([[1, 2, 3]]) == Sampler(tiny).logprobs([[1, 2, 3]])


def test_bfloat16_trains_and_samples_close_to_float32(tiny: LoadedModel, directory: Path) -> None:
    loaded = load_model(directory, dtype="bfloat16")
    assert loaded.model.dtype == torch.bfloat16
    one = example(20)
    exact = Trainer(tiny, LORA).forward_backward([one], "cross_entropy").loss
    trainer = Trainer(loaded, LORA)
    assert trainer.forward_backward([one], "cross_entropy").loss == pytest.approx(exact, rel=0.02)
    assert Sampler(loaded, trainer.snapshot()).logprobs([one.tokens])[0][1] is not None


def test_another_model_has_another_fingerprint(tiny: LoadedModel) -> None:
    assert tiny_model(seed=1).fingerprint != tiny.fingerprint
    assert tiny_model().fingerprint == tiny.fingerprint


@pytest.mark.parametrize("source", ["/no/such/model", "./no-such-model", "~/no-such-model", "/no/such/file.gguf"])
def test_a_path_that_is_not_there(source: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no.such.*check the path"):
        load_model(source)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=str(tmp_path)):
        load_model(tmp_path)


def test_a_gguf_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(ModelLoadError, match=r"model\.gguf cannot be loaded"):
        load_model(tmp_path / "model.gguf")


def test_an_id_when_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"no model 'crucible-tests/none' at revision 'main': tried .* Check"):
        load_model("crucible-tests/none", revision="main")


LOADER = """
import sys
from crucible.engine import ModelNotFoundError, load_model
for source in sys.argv[1:]:
    try:
        print(load_model(source).fingerprint)
    except ModelNotFoundError as error:
        print("not found:", str(error).replace(chr(10), " "))
"""


def load_elsewhere(endpoint: str, cache: Path, *sources: str) -> list[str]:
    """Load in another process, since the hub's client reads its address when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(cache)}
    command = [sys.executable, "-c", LOADER, *sources]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_hub_id_loads_and_then_loads_offline(
    tiny: LoadedModel, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving("crucible-tests/tiny", directory) as endpoint:
        found, missing = load_elsewhere(endpoint, tmp_path, "crucible-tests/tiny", "crucible-tests/none")
    assert found == tiny.fingerprint
    assert "no model 'crucible-tests/none'" in missing
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, missing = load_elsewhere(endpoint, tmp_path, "crucible-tests/tiny", "crucible-tests/other")
    assert found == tiny.fingerprint
    assert "no model 'crucible-tests/other'" in missing
    assert "path of a local copy when offline" in missing


@pytest.mark.slow
def test_a_gguf_file_trains_and_saves_as_a_plain_model(smollm: LoadedModel, tmp_path: Path) -> None:
    assert (smollm.max_length, smollm.vocab_size, smollm.eos_ids) == (8192, 49152, (2,))
    smollm.model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size > 500_000_000


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("config.json", {"num_hidden_layers": 9}, "lacks 63 of the weights"),
        ("generation_config.json", {"eos_token_id": "x"}, "invalid literal"),
    ],
)
def test_a_folder_whose_files_do_not_fit_each_other_is_refused(
    tiny: LoadedModel, tmp_path: Path, file: str, changes: dict[str, object], says: str
) -> None:
    """Weights that are not there were drawn at random by transformers, and trained."""
    tiny.model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path).fingerprint == tiny.fingerprint
    (tmp_path / file).write_text(json.dumps({**json.loads((tmp_path / file).read_text()), **changes}))
    with pytest.raises(ModelLoadError, match=says):
        load_model(tmp_path)
