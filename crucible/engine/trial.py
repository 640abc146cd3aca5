"""Which models this engine is right for: a list of the architectures that its tests cover, and a trial of every other.

A trial costs a few passes over a handful of tokens. What fails it is refused in words, before any work: a model whose code
drops an argument, keeps its state somewhere else, or attends in its own way would otherwise give wrong numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crucible.engine.attention import has_plain_attention, use_packed_attention
from crucible.engine.errors import ModelLoadError, UnsupportedModelError
from crucible.engine.lora import share_tree
from crucible.engine.packing import pack
from crucible.engine.scoring import row_logprobs
from crucible.engine.stopping import StopRule
from crucible.engine.values import Sampling

TESTED = frozenset(
    [
        "apertus",
        "arcee",
        "bamba",
        "bitnet",
        "bloom",
        "codegen",
        "cohere",
        "cohere2",
        "cohere2_moe",
        "deepseek_v2",
        "deepseek_v3",
        "doge",
        "ernie4_5",
        "ernie4_5_moe",
        "exaone4",
        "falcon",
        "falcon_h1",
        "falcon_mamba",
        "flex_olmo",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gemma3n_text",
        "glm",
        "glm4",
        "glm4_moe",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gpt_oss",
        "gptj",
        "granite",
        "granitemoe",
        "granitemoehybrid",
        "granitemoeshared",
        "helium",
        "hunyuan_v1_dense",
        "jamba",
        "jetmoe",
        "lfm2",
        "lfm2_moe",
        "llama",
        "llama4_text",
        "mamba",
        "mamba2",
        "minimax_m2",
        "ministral",
        "ministral3",
        "mistral",
        "mixtral",
        "mpt",
        "nanochat",
        "nemotron",
        "nemotron_h",
        "olmo",
        "olmo2",
        "olmo3",
        "olmo_hybrid",
        "olmoe",
        "opt",
        "phi",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_5_moe_text",
        "qwen3_5_text",
        "qwen3_moe",
        "qwen3_next",
        "recurrent_gemma",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder2",
        "vaultgemma",
        "zamba2",
    ]
)
"""Model types of transformers on which `tests/engine/test_architectures.py` compares this engine with transformers and peft."""

DROPS_SEGMENTS = frozenset({"nemotron"})
"""Model types that look plain and do not hand the segments of a packed row on to their attention."""

PROMPTS = ((3, 5, 7), (11, 13, 17, 19, 23, 29))
"""Token ids of a trial, small enough for any vocabulary of text; of two lengths, as padding is what goes wrong."""


def require_forward(model: nn.Module) -> None:
    """Refuse a model that cannot be run at all, unless its type is `TESTED`.

    Raises:
        ModelLoadError: names the model type and what it raised.
    """
    if _model_type(model) in TESTED:
        return
    try:
        for prompt in PROMPTS:
            _plain_logprobs(model, prompt)
    except Exception as error:  # code of any author
        raise ModelLoadError(f"{_naming(model)} loads, and running it fails: {_first_line(error)}") from error


def can_pack(model: nn.Module) -> bool:
    """Whether several sequences may share a row: attention must be plain, and for types not `TESTED` a trial must agree."""
    kind = _model_type(model)
    if not has_plain_attention(model) or kind in DROPS_SEGMENTS:
        return False
    return kind in TESTED or _packs_rightly(model)


def require_adapters(model: nn.Module, adapters: Mapping[str, nn.Module]) -> None:
    """Refuse adapters in a model that runs past them, unless its type is `TESTED`.

    Layers that a short text does not reach (experts, the parts of a model that see images) are no fault.

    Args:
        model: the tree with the adapters in it.
        adapters: the adapted layers by name.

    Raises:
        UnsupportedModelError: names the model type and the reason.
    """
    if _model_type(model) in TESTED:
        return
    learning = {name: [one for one in each.parameters() if one.requires_grad] for name, each in adapters.items()}
    idle = set(learning) - _reached(model, learning)
    weights = {name: [adapters[name].weight] for name in idle if hasattr(adapters[name], "weight")}
    if read_past := sorted(_reached(model, weights) if weights else ()):
        raise UnsupportedModelError(
            f"{_naming(model)} reads the weights of {', '.join(read_past[:3])} past their adapters, which would not learn: "
            "name other layers as target"
        )


def _reached(model: nn.Module, parameters: Mapping[str, Sequence[Any]]) -> set[str]:
    """Return the names of which a parameter gets a gradient from the texts of a trial. Any: torch's attributes are untyped."""
    every = [one for each in parameters.values() for one in each]
    frozen = [one for one in every if not one.requires_grad]
    try:
        for one in frozen:
            one.requires_grad_(True)
        for prompt in PROMPTS:
            _forward(model, prompt).logsumexp(dim=-1).sum().backward()
        return {name for name, each in parameters.items() if any(one.grad is not None for one in each)}
    except Exception as error:  # code of any author
        raise UnsupportedModelError(f"{_naming(model)} cannot be trained here: {_first_line(error)}") from error
    finally:
        model.zero_grad(set_to_none=True)
        for one in frozen:
            one.requires_grad_(False)


def require_decoding(model: nn.Module, *, plain: bool) -> None:
    """Refuse a model that decodes other log-probabilities than it scores, unless its type is `TESTED`.

    Raises:
        UnsupportedModelError: names the model type and the reason.
    """
    if _model_type(model) in TESTED:
        return
    from crucible.engine.decoding import decode, new_row

    sampling = Sampling(max_tokens=3, temperature=0)
    rows = [new_row(prompt, sampling, prompt_index=0, sample_index=0, limit=64) for prompt in PROMPTS]
    rows[0].uniform = rows[0].uniform[:1]  # it leaves before the other
    never = StopRule(ids=frozenset(), strings=(), tokenizer=None, tail_tokens=0)
    try:
        decode(model, rows, sampling, never, plain=plain)
        pairs = [(row.logprobs, _plain_logprobs(model, (*row.prompt, *row.tokens))) for row in rows]
    except Exception as error:  # code of any author
        reason = _first_line(error)
        raise UnsupportedModelError(f"{_naming(model)} trains and cannot be sampled here: {reason}") from error
    if not all(_agree(torch.tensor(got), want[-len(got) :], model) for got, want in pairs):
        raise UnsupportedModelError(
            f"{_naming(model)} trains and cannot be sampled here: step by step it gives other log-probabilities than over the "
            "whole text, so it keeps a state that the sampler does not know"
        )


def _packs_rightly(model: nn.Module) -> bool:
    tree = share_tree(model)
    use_packed_attention(tree)
    (row,) = pack(PROMPTS, capacity=64, shareable=[0, 0])
    places = np.concatenate([places[:-1] for places in row.places])
    targets = np.concatenate([PROMPTS[member][1:] for member in row.members])
    want = torch.cat([_plain_logprobs(model, PROMPTS[member]) for member in row.members])
    where = want.device
    try:
        with torch.no_grad():
            got = row_logprobs(tree, row, torch.from_numpy(places).to(where), torch.from_numpy(targets).to(where))
    except Exception:  # noqa: BLE001  # code of any author, which then takes one sequence a row
        return False
    return _agree(got, want, model)


def _plain_logprobs(model: Any, tokens: tuple[int, ...]) -> Tensor:
    """Return the log-probability of each token but the first, as transformers computes it. Any: a transformers model."""
    with torch.no_grad():
        logits = _forward(model, tokens)
    return logits[:-1].log_softmax(dim=-1).gather(1, torch.tensor(tokens[1:], device=logits.device)[:, None])[:, 0]


def _forward(model: Any, tokens: tuple[int, ...]) -> Tensor:
    ids = torch.tensor([tokens], device=next(model.parameters()).device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0].float()
    return logits


def _agree(got: Tensor, want: Tensor, model: nn.Module) -> bool:
    short = next(model.parameters()).dtype != torch.float32
    return bool(torch.allclose(got.to(want.device), want, rtol=0, atol=0.2 if short else 1e-3))


def _model_type(model: nn.Module) -> str:
    config: Any = model.config  # Any: configurations have no common typed fields
    return str(config.get_text_config().model_type)


def _naming(model: nn.Module) -> str:
    return f"a model of type {_model_type(model)!r} ({type(model).__name__})"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
