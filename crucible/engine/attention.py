"""Attention over packed rows, registered with transformers, and the test of which models may use it.

Each segment is attended on its own by torch's scaled dot product attention, so packing costs no attention between
documents and no mask of the square of the row. Letters: H heads, P tokens of the row, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from crucible.engine.packing import Segment

PACKED = "crucible_packed"
"""Name of the attention in transformers' registry."""


def has_plain_attention(model: nn.Module) -> bool:
    """Whether every layer is full causal attention that transformers routes through its registry.

    Sliding windows, chunks, recurrent layers and soft-capped scores change who sees whom in ways that this module does
    not follow, so such models train and score one sequence a row instead.
    """
    config: Any = model.config  # Any: configurations have no common typed fields
    text = config.get_text_config()
    layers = getattr(text, "layer_types", None)
    windowed = getattr(text, "sliding_window", None) is not None and layers is None
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and bool(getattr(model, "_supports_sdpa", False))
        and getattr(text, "attn_logit_softcapping", None) is None
        and (layers is None or set(layers) == {"full_attention"})
        and not windowed
    )


def use_packed_attention(model: nn.Module) -> None:
    """Make `model` (its own configuration, no other model's) attend by segments. Effect: registers `PACKED` once."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    model.set_attn_implementation(PACKED)  # type: ignore[operator]  # a method of transformers models


def packed_attention(  # noqa: PLR0913  # the signature is transformers'
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed_segments: Sequence[Segment],
    sliding_window: int | None = None,
    **options: Any,  # Any: what transformers passes on to an attention function
) -> tuple[Tensor, None]:
    """Attend within each segment and from it to its prefix.

    Args:
        query: shape (1, H, P, D); `key` and `value` alike, with fewer heads where they are grouped.
        attention_mask: always None here; the segments say it all.
        packed_segments: must cover the row in order.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if sliding_window is not None:
        raise NotImplementedError("packed attention has no sliding window")
    parts = []
    for segment in packed_segments:
        own, prefix = slice(segment.start, segment.stop), slice(segment.prefix_start, segment.prefix_stop)
        mask = _prefix_mask(segment, query.device)
        keys, values = (_with_prefix(states, own, prefix) for states in (key, value))
        part, _ = sdpa_attention_forward(module, query[:, :, own], keys, values, mask, **options)
        parts.append(part)
    return torch.cat(parts, dim=1), None


def _with_prefix(states: Tensor, own: slice, prefix: slice) -> Tensor:
    if prefix.start == prefix.stop:
        return states[:, :, own]
    return torch.cat([states[:, :, prefix], states[:, :, own]], dim=2)


def _prefix_mask(segment: Segment, device: torch.device) -> Tensor | None:
    shared = segment.prefix_stop - segment.prefix_start
    if not shared:
        return None
    length = segment.stop - segment.start
    ones = torch.ones(length, shared + length, dtype=torch.bool, device=device)
    return ones.tril(diagonal=shared)[None, None]
