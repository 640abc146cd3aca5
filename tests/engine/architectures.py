"""Tiny random models of the architectures that the engine is tested on. No network, no files."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from crucible.engine import LoadedModel, wrap_model
from tests.engine.tiny import tiny_tokenizer

VOCAB = 96
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 1,
    "initializer_range": 0.1,  # large enough that next-token distributions are far from uniform
}
_EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_ROUTED = {**_EXPERTS, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_SHARED = {**_EXPERTS, "shared_expert_intermediate_size": 16}
_WINDOW = {"sliding_window": 8}
_MIXED_WINDOW = {**_WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_MAMBA = {"state_size": 8, "time_step_rank": 4}
_MAMBA2 = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
_DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
_LATENT = {
    **_ROUTED,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
}
_POSITIONS = {"n_positions": 128, "rotary_dim": 4}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "bamba": {**_MAMBA2, "attn_layer_indices": [1]},
    "bitnet": {},
    "bloom": {},
    "codegen": {**_POSITIONS, "n_ctx": 128},
    "cohere": {},
    "cohere2": _MIXED_WINDOW,
    "cohere2_moe": _EXPERTS,
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "doge": {},
    "ernie4_5": {},
    "ernie4_5_moe": {**_EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_num_shared_experts": 1},
    "exaone4": _MIXED_WINDOW,
    "falcon": {"head_dim": ...},
    "falcon_h1": _MAMBA2,
    "falcon_mamba": _MAMBA,
    "flex_olmo": _EXPERTS,
    "gemma": {},
    "gemma2": _MIXED_WINDOW,
    "gemma3_text": _MIXED_WINDOW,
    "gemma3n_text": {
        **_MIXED_WINDOW,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCAB,
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "altup_num_inputs": 2,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "glm": {},
    "glm4": {},
    "glm4_moe": _ROUTED,
    "gpt2": {"n_positions": 128},
    "gpt_bigcode": {"n_positions": 128},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4, "window_size": 8},
    "gpt_neox": {},
    "gpt_oss": {**_EXPERTS, **_MIXED_WINDOW, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    "gptj": _POSITIONS,
    "granite": {},
    "granitemoe": _EXPERTS,
    "granitemoehybrid": {**_EXPERTS, **_MAMBA2, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 16},
    "granitemoeshared": {**_EXPERTS, "shared_intermediate_size": 16},
    "helium": {},
    "hunyuan_v1_dense": {},
    "jamba": {
        **_EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
    },
    "jetmoe": {"kv_channels": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48},
    "lfm2_moe": {**_EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama": {},
    "llama4_text": {
        **_EXPERTS,
        "intermediate_size_mlp": 48,
        "attention_chunk_size": 8,
        "layer_types": ["chunked_attention", "full_attention"],
        "interleave_moe_layer_step": 2,
        "no_rope_layers": [1, 0],
    },
    "mamba": _MAMBA,
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "minimax_m2": _EXPERTS,
    "ministral": _WINDOW,
    "ministral3": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 64,
        }
    },
    "mistral": _WINDOW,
    "mixtral": _EXPERTS,
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 128, "expansion_ratio": 2},
    "nanochat": {},
    "nemotron": {},
    "nemotron_h": {
        "hybrid_override_pattern": "M*-",
        "num_hidden_layers": 3,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "olmo": {},
    "olmo2": {},
    "olmo3": _MIXED_WINDOW,
    "olmo_hybrid": _DELTA,
    "olmoe": _EXPERTS,
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "phi": {},
    "phi3": _WINDOW,
    "phimoe": {**_EXPERTS, **_WINDOW},
    "qwen2": {},
    "qwen2_moe": {**_SHARED, "decoder_sparse_step": 1},
    "qwen3": {},
    "qwen3_5_moe_text": {**_DELTA, **_SHARED},
    "qwen3_5_text": _DELTA,
    "qwen3_moe": _EXPERTS,
    "qwen3_next": {**_DELTA, **_SHARED},
    "recurrent_gemma": {
        "num_hidden_layers": 3,
        "block_types": ["recurrent", "recurrent", "attention"],
        "attention_window_size": 8,
        "lru_width": 32,
    },
    "seed_oss": {},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": _WINDOW,
    "vaultgemma": _MIXED_WINDOW,
    "zamba2": {
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "mamba_d_state": 8,
        "mamba_ngroups": 1,
        "chunk_size": 8,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "num_mem_blocks": 1,
        "adapter_rank": 4,
    },
}
"""Model type of transformers -> what its configuration has besides the common fields; `...` leaves a common one out."""

UNSAMPLED: dict[str, dict[str, Any]] = {
    "minimax": {**_EXPERTS, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "xlstm": {"num_heads": 4},
}
"""Types that train and cannot be sampled, because they keep their state in a way of their own."""


def architecture(model_type: str) -> LoadedModel:
    """Make the tiny model of a type; equal every time."""
    fields = {**_COMMON, **{**ARCHITECTURES, **UNSAMPLED}[model_type]}
    config = CONFIG_MAPPING[model_type](**{name: value for name, value in fields.items() if value is not ...})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return wrap_model(model, tiny_tokenizer(), name=model_type)
