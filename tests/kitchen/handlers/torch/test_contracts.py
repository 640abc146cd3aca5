"""The torch handlers keep the promises of their ports, on a model of two layers."""

from collections.abc import Callable

import pytest

from crucible.effects import Handlers
from crucible.testing import (
    ContractViolationError,
    check_sampling_client,
    check_training_client,
    check_training_with_sampling,
)
from crucible.train.ports import SamplingClient, TrainingClient

pytest.importorskip("torch")

TOLERANCE = 1e-4  # float32 sums taken in another order


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Save a random Llama with one token for each byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    words = ["<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.1,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Handlers[TrainingClient | SamplingClient]]:
    from crucible.kitchen.handlers import torch

    handlers = torch.local(tmp_path_factory.mktemp("saved"), num_threads=1)
    return lambda: handlers


def test_training_client(make: Callable[[], Handlers[TrainingClient | SamplingClient]], model: str) -> None:
    check_training_client(make, model=model, learning_rate=1e-2, tolerance=TOLERANCE)


def test_sampling_client(make: Callable[[], Handlers[TrainingClient | SamplingClient]], model: str) -> None:
    # The engine refuses an empty batch, and the handler passes that on: the one law it does not keep, and the last.
    with pytest.raises(ContractViolationError, match="no prompts have no samples"):
        check_sampling_client(make, model=model, tolerance=TOLERANCE)


def test_training_with_sampling(make: Callable[[], Handlers[TrainingClient | SamplingClient]], model: str) -> None:
    check_training_with_sampling(make, model=model, learning_rate=1e-2, tolerance=TOLERANCE)
