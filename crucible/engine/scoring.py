"""Log-probabilities of chosen tokens of a packed row. Letters: P tokens of the row, T scored, V vocabulary."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from crucible.engine.packing import PackedRow


def row_logprobs(model: nn.Module, row: PackedRow, places_T: Tensor, targets_T: Tensor) -> Tensor:
    """Return the natural log-probability of each target, shape (T,), float32, with a graph where gradients are on.

    Hidden states are gathered before the output head, so logits are computed for the T positions only.

    Args:
        model: attends by segments (`attention.use_packed_attention`) if the row holds more than one.
        places_T: index in the row of the token that predicts each target.
        targets_T: ids.
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
    logits_TV = logits if gathers else logits[places_T]
    return -nn.functional.cross_entropy(logits_TV.float(), targets_T, reduction="none")


def attends_by_segment(model: nn.Module) -> bool:
    """Whether `attention.use_packed_attention` was applied to this model tree."""
    from crucible.engine.attention import PACKED

    config: Any = model.config  # Any: configurations have no common typed fields
    return bool(config._attn_implementation == PACKED)
