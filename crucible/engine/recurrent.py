"""States of models with recurrent layers: prompts of one length are read together, without padding, and joined afterwards.

A recurrent layer would carry padding on into the prompt, and each family treats it in its own way; so there is none. Only
the attention layers of such a model see rows of different lengths, padded on the left behind a mask. What cannot be joined
is decoded one length at a time. Imports transformers when it is imported, so the engine imports this module only when it
samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

_JOINABLE = (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
)


def is_recurrent(cache: Cache) -> bool:
    """Whether any layer carries a state from token to token (linear attention, state spaces, short convolutions)."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def attends(cache: Cache) -> bool:
    """Whether any layer keeps keys and values, and so needs a mask where rows differ in length."""
    return any(isinstance(layer, DynamicLayer) for layer in cache.layers)


def can_join(cache: Cache) -> bool:
    """Whether every layer keeps a kind of state that `joined` knows."""
    return all(type(layer) in _JOINABLE for layer in cache.layers)


def joined(caches: Sequence[Cache]) -> Cache:
    """Return one cache with the rows of all, in order; the caches given are used up."""
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        _join(layers)
    return caches[0]


@attrs.frozen
class OwnStates:
    """States that a model keeps in its modules instead of a cache, as RecurrentGemma does: (module, attribute)."""

    places: Sequence[tuple[nn.Module, str]]

    @classmethod
    def of(cls, model: nn.Module) -> OwnStates:
        """Find them."""
        names = ("conv1d_state", "recurrent_states")
        return cls([(module, name) for module in model.modules() for name in names if name in vars(module)])

    def forget(self) -> None:
        """Begin anew; without it, a model takes the state of the last batch of as many rows for its own."""
        for module, name in self.places:
            setattr(module, name, None)

    def select(self, indices: Tensor) -> None:
        """Keep only these rows (a row may be named more than once)."""
        for module, name in self.places:
            setattr(module, name, getattr(module, name)[indices])


def _join(layers: Sequence[Any]) -> None:
    """Put the rows of all into the first. Any: the kinds of layers have no common typed fields."""
    first = layers[0]
    if isinstance(first, DynamicLayer) and first.keys is not None:
        first.keys = _left_padded([layer.keys for layer in layers])
        first.values = _left_padded([layer.values for layer in layers])
    if isinstance(first, DynamicSlidingWindowLayer):
        first.cumulative_length = max(layer.cumulative_length for layer in layers)
    if isinstance(first, LinearAttentionCacheLayerMixin):
        for states in ("conv_states", "recurrent_states"):
            for index, held in getattr(first, states).items():
                if held is not None:
                    getattr(first, states)[index] = torch.cat([getattr(layer, states)[index] for layer in layers])


def _left_padded(states: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors of shape (rows, heads, tokens, width) along rows, the shorter ones behind zeros."""
    longest = max(one.shape[2] for one in states)
    return torch.cat([nn.functional.pad(one, (0, 0, longest - one.shape[2], 0)) for one in states])
