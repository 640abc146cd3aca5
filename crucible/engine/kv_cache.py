"""A key-value cache that grows by doubling; transformers' own copies all it holds at every token.

Imports transformers when it is imported, so the engine imports this module only when it samples.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

FIRST_TOKENS = 64
"""Room for this many more tokens is made at first; later the room doubles."""


class GrowingLayer(DynamicLayer):
    """One layer's keys and values, shape (rows, heads, tokens, width), as views of larger buffers."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append and return all. Any: transformers passes options that this layer has no use for."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers: tuple[Tensor, ...] = ()
        held = self.get_seq_length()
        total = held + key_states.shape[-2]
        if not self._fits(key_states.shape[0], total):
            self._buffers = tuple(_with_room(new, old, held) for new, old in self._pairs(key_states, value_states))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, held:total] = states
        keys, values = (buffer[:, :, :total] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep only these rows (a row may be named more than once). The argument has transformers' name."""
        super().reorder_cache(beam_idx)  # type: ignore[arg-type]  # transformers means any tensor of integers
        self._buffers = ()

    def _pairs(self, key_states: Tensor, value_states: Tensor) -> tuple[tuple[Tensor, Any], tuple[Tensor, Any]]:
        return (key_states, self.keys), (value_states, self.values)  # Any: transformers types them as optional

    def _fits(self, num_rows: int, num_tokens: int) -> bool:
        return bool(self._buffers) and self._buffers[0].shape[0] == num_rows and self._buffers[0].shape[2] >= num_tokens


def make_cache(config: Any, *, plain: bool) -> Cache:
    """Return an empty cache for the model of this configuration.

    Args:
        plain: every layer is full attention (`attention.has_plain_attention`); others get transformers' own.
    """
    if plain:
        make: Any = GrowingLayer  # Any: its constructor is untyped in transformers
        return Cache(layers=[make() for _ in range(config.get_text_config().num_hidden_layers)])
    return DynamicCache(config=config)


def _with_room(new: Tensor, old: Tensor, held: int) -> Tensor:
    rows, heads, added, width = new.shape
    room = max(2 * held, held + added + FIRST_TOKENS)
    buffer = torch.empty(rows, heads, room, width, dtype=new.dtype, device=new.device)
    if held:
        buffer[:, :, :held] = old
    return buffer
