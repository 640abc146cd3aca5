"""A tiny random Llama with a tiny tokenizer, and examples for it. No network, no files."""

import random
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from crucible.engine import Example, LoadedModel, LoraSpec, wrap_model

VOCAB = 512
EOS = 1
LETTERS = "abcdefghijklmnopqrstuvwxyz "
LORA = LoraSpec(rank=4, alpha=8, seed=3)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token for each letter and `w7`-like words for the other ids."""
    words = ["<unk>", "<eos>", *LETTERS]
    vocabulary = {word: index for index, word in enumerate([*words, *(f"w{i}" for i in range(len(words), VOCAB))])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")


def tiny_model(*, seed: int = 0, tied: bool = False, max_length: int = 128) -> LoadedModel:
    """Make the model; equal seeds make equal weights."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_length,
        tie_word_embeddings=tied,
        initializer_range=0.1,  # large enough that next-token distributions are far from uniform
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return wrap_model(model, tiny_tokenizer(), name=f"tiny-{seed}")


def example(
    length: int, *, seed: int = 0, untrained: int = 0, prefix: Sequence[int] = (), vocab: int = VOCAB
) -> Example:
    """Make a cross-entropy example of random tokens after `prefix`; the first `untrained` positions weigh 0."""
    draw = random.Random(seed)
    tokens = [*prefix, *(draw.randrange(vocab) for _ in range(length + 1 - len(prefix)))]
    weights = [0.0 if i < untrained else draw.choice((0.5, 1.0)) for i in range(length)]
    return Example(tokens=tuple(tokens[:-1]), loss_inputs={"target_tokens": tokens[1:], "weights": weights})


def policy_example(length: int, *, seed: int = 0, untrained: int = 0) -> Example:
    """Make an example for the policy losses, its old logprobs near those of the tiny model."""
    draw = random.Random(seed)
    tokens = [draw.randrange(VOCAB) for _ in range(length + 1)]
    trained = [i >= untrained for i in range(length)]
    return Example(
        tokens=tuple(tokens[:-1]),
        loss_inputs={
            "target_tokens": tokens[1:],
            "logprobs": [draw.uniform(-7, -5) if on else 0.0 for on in trained],
            "advantages": [draw.uniform(-1, 1) if on else 0.0 for on in trained],
        },
    )
