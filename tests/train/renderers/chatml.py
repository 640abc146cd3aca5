"""A tokenizer of transformers with a vocabulary learnt in milliseconds and the chat template of SmolLM2. No files."""

from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from crucible.engine import LoadedModel
from crucible.kitchen.handlers.torch.backend import tokenizer_of
from crucible.kitchen.handlers.torch.tokenizer import HfTokenizer

END, START, VOCAB = "<|im_end|>", "<|im_start|>", 512
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Blanks and line ends in runs, so that the vocabulary holds tokens that reach across them.
TEXT = (
    "user\n  system\n\n\nassistant\n What is 2+2?  It is 4.\n\n   The cat sat on the mat,\n and the rain came down.\n "
)


@lru_cache(maxsize=1)
def trained() -> PreTrainedTokenizerFast:
    """Make the tokenizer; the end of a turn is token 1, as in the tiny model of the engine's tests."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", END, START]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    # As many tokens as the model has rows: a random model samples any of them.
    tokenizer.add_special_tokens([f"<|spare_{i}|>" for i in range(tokenizer.get_vocab_size(), VOCAB)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=START, eos_token=END, unk_token=specials[0])
    made.chat_template = CHATML
    return made


def as_value(tokenizer: Any) -> HfTokenizer:  # Any: transformers tokenizers have no useful static type
    """Give a tokenizer of transformers as the handler gives it."""
    return tokenizer_of(
        LoadedModel(
            model=None, tokenizer=tokenizer, name="none", max_length=1, vocab_size=VOCAB, eos_ids=(1,), fingerprint=""
        )
    ).unwrap()
