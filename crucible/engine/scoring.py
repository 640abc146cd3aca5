"""Log-probabilities of chosen tokens of a packed row. Letters: P tokens of the row, T scored, V vocabulary."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from crucible.engine.packing import PackedRow

ROWS_AT_ONCE = 64
"""How many positions are normalised at once over the whole vocabulary, where only a few tokens of each are kept."""


def row_logprobs(model: nn.Module, row: PackedRow, places_T: Tensor, targets_T: Tensor) -> Tensor:
    """Return the natural log-probability of each target, shape (T,), float32, with a graph where gradients are on.

    Args:
        model: attends by segments (`attention.use_packed_attention`) if the row holds more than one.
        places_T: index in the row of the token that predicts each target.
        targets_T: ids.
    """
    logits_TV = _logits(model, row, places_T)
    return -nn.functional.cross_entropy(logits_TV.float(), targets_T, reduction="none")


def row_top_logprobs(model: nn.Module, row: PackedRow, places_T: Tensor, num_top: int) -> tuple[Tensor, Tensor]:
    """Return the K likeliest tokens after each place, likeliest first, and their log-probabilities, each of shape (T, K).

    K is `num_top`, or the size of the vocabulary if that is less. Numbers are float32; they are normalised for
    `ROWS_AT_ONCE` places at a time.
    """
    found = []
    for logits in _logits(model, row, places_T).split(ROWS_AT_ONCE):
        top = logits.float().log_softmax(dim=-1).topk(min(num_top, logits.shape[-1]), dim=-1)
        found.append((top.indices, top.values))
    tokens, logprobs = zip(*found, strict=True)
    return torch.cat(tokens), torch.cat(logprobs)


def _logits(model: nn.Module, row: PackedRow, places_T: Tensor) -> Tensor:
    """Return the logits at some places of a row, shape (T, V).

    Hidden states are gathered before the output head, so logits are computed for the T positions only.
    """
    device = places_T.device
    options: dict[str, Any] = {}  # Any: keyword arguments of a transformers forward
    if attends_by_segment(model):
        options["packed_segments"] = row.segments
    gathers = "logits_to_keep" in inspect.signature(model.forward).parameters
    if gathers:
        options["logits_to_keep"] = places_T
    logits = model(
        input_ids=torch.from_numpy(row.tokens_P).to(device)[None],
        position_ids=torch.from_numpy(row.positions_P).to(device)[None],
        use_cache=False,
        **options,
    ).logits[0]
    chosen: Tensor = logits if gathers else logits[places_T]
    return chosen


def attends_by_segment(model: nn.Module) -> bool:
    """Whether `attention.use_packed_attention` was applied to this model tree."""
    from crucible.engine.attention import PACKED

    config: Any = model.config  # Any: configurations have no common typed fields
    return bool(config._attn_implementation == PACKED)
